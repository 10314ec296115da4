"""The command that an error names makes the artifact again, and nothing that follows it."""

import os
import re
import shlex

import pytest
from commands import run_snakemakes, script, workflow
from study import OVERLAY, RUN

SPLITS = f"{RUN}/benchmark/splits.parquet"
MADE = {f"{RUN}/benchmark/{name}.parquet" for name in ("records", "excluded", "splits")}


@pytest.fixture(scope="module")
def made(whole, tmp_path_factory):
    """A study whose records and splits Snakemake has made itself, so that it knows of what."""
    study = whole.copy(tmp_path_factory.mktemp("made") / "study")
    run(study, "--forcerun", "build_records", "build_splits", "--", SPLITS)
    return study


def run(study, *arguments: str) -> list[str]:
    """The rules that ran, or would run in a dry run, and that it ended well."""
    request = {**workflow().request(study, []), "arguments": [*OPTIONS, *arguments]}
    (outcome,) = run_snakemakes([request])
    assert outcome.status == 0, outcome.said
    return re.findall(r"^(?:local)?rule (\w+):", outcome.said, re.M)


OPTIONS = ("--cores", "1", "--configfile", OVERLAY)


def test_an_artifact_that_was_made_again_with_the_same_bytes_sets_nothing_off(made):
    before = made.state()
    records = made.artifact("benchmark/records")
    content, time = bytearray(records.read_bytes()), records.stat().st_mtime_ns
    content[len(content) // 4] ^= 1
    records.write_bytes(content)
    assert run(made, "--dry-run", SPLITS) == ["build_splits"]  # newer, and other bytes
    os.utime(records, ns=(time, time))  # as a failing disk would change it

    refused = script("build_splits")(made, [])
    assert refused.status and "records.parquet is damaged" in refused.said
    named = re.search(r"made: snakemake (.+) \(and the other options of your run\)", refused.said)
    assert run(made, *shlex.split(named[1]), *OPTIONS[2:]) == ["build_records"]

    after = made.state()
    assert {name: after[name][0] for name in MADE} == {name: before[name][0] for name in MADE}
    assert records.stat().st_mtime_ns > made.artifact("benchmark/splits").stat().st_mtime_ns
    assert run(made, "--dry-run", SPLITS) == []
