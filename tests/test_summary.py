"""What a run says at its end."""

from hones_core import artifacts
from hones_core.report.verdicts import headline
from hones_core.schemas.tables import MASKING_DROP
from hones_core.summary import run_summary

pytest_plugins = ["tables_fixtures"]


def test_a_run_ends_with_its_answer_and_where_everything_is(drops, tmp_path):
    run = tmp_path / "toy"
    assert run_summary(run) == ""
    table = run / "tables" / "masking_drop.parquet"
    artifacts.write(table, drops, MASKING_DROP)
    said = run_summary(run)
    assert said.startswith("Run toy is complete.")
    assert headline(drops)[0] in said and str(run / "tables") in said
    assert "figures" not in said  # there are none
    table.write_bytes(table.read_bytes()[:-20])
    assert "masking_drop.parquet" in run_summary(run) and "make again" in run_summary(run)
