"""Looking into artifacts from the command line."""

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hones_core import artifacts
from hones_core.inspect import describe, main
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.masking import OVERLAP_GROUPS

MADE_BY = {
    "rule": "rank_heads",
    "wildcards": {"task": "vqa"},
    "config": {"top_heads": 8},
    "generation": {"repetition_penalty": 1.0},
    "versions": {"numpy": "2"},
    "code": {"hones_core/heads.py": "abc"},
}


@pytest.fixture
def ranking(tmp_path):
    frame = pd.DataFrame(
        {
            "rank": range(4),
            "layer": [0, 0, 1, 1],
            "head": [0, 1, 0, 1],
            "score": [0.5, 0.25, 0.1, 0.0],
            "logprob_drop": [1.0, 0.5, 0.2, 0.1],
            "selected": [True, True, False, False],
            "n_samples": 7,
            "screened": False,
        }
    )
    path = tmp_path / "head_ranking.parquet"
    artifacts.write(path, frame, HEAD_RANKING, MADE_BY)
    return path


def test_everything_a_reader_asks_is_said(ranking, capsys):
    assert main([str(ranking), "--rows", "2"]) == 0
    said = capsys.readouterr().out
    assert HEAD_RANKING.meaning in said and "4 rows" in said and "rule rank_heads" in said
    for column in HEAD_RANKING.columns:
        assert column.name in said and column.meaning in said
    assert 'generation: {"repetition_penalty": 1.0}' in said
    assert '"top_heads": 8' in said and "1 files (--code lists them)" in said
    assert "0.25" in said and "First 2 rows" in said


def test_the_code_is_listed_when_asked_for(ranking):
    assert "hones_core/heads.py abc" in describe(ranking, code=True)


def test_rows_are_counted_by_key_columns_of_few_values(tmp_path):
    frame = pd.DataFrame({"layer": [0, 0, 1], "neuron": [1, 2, 1], "group": "vqa", "n_tasks": 1})
    artifacts.write(tmp_path / "groups.parquet", frame, OVERLAP_GROUPS, {})
    assert "layer: 0 2, 1 1" in describe(tmp_path / "groups.parquet")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is missing"), (b"PAR1 no", "not a readable parquet"), ("frame", "no HONES artifact")],
)
def test_what_is_no_artifact_is_said_to_be_none(tmp_path, capsys, content, message):
    path = tmp_path / "x.parquet"
    if content == "frame":
        pd.DataFrame({"a": [1]}).to_parquet(path)
    elif content is not None:
        path.write_bytes(content)
    assert main([str(path)]) == 1
    assert message in capsys.readouterr().err


def test_an_artifact_of_another_version_is_refused(ranking, capsys):
    table = pq.read_table(ranking)
    metadata = {**table.schema.metadata, b"hones_schema_version": b"1"}
    pq.write_table(table.replace_schema_metadata(metadata), ranking)
    assert main([str(ranking)]) == 1
    assert "version 1" in capsys.readouterr().err
