"""Artifacts: declared, checked, atomic, byte-deterministic."""

import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hones_core import artifacts
from hones_core.artifacts import ArtifactError, Column, Schema
from hones_core.docs import all_schemas

SCHEMA = Schema(
    name="example",
    version=2,
    rule="make_example",
    meaning="An example.",
    key=("layer", "name"),
    columns=(
        Column("layer", "int64", "", "layer"),
        Column("name", "string", "", "name"),
        Column("score", "float64", "logit", "score"),
        Column("drop", "float64", "percent", "undefined if the base is 0", nan=True),
        Column("texts", "list<string>", "", "texts"),
    ),
)


REMEDY = r"; make again what rule make_example made: snakemake --cores 1 --force \S+/a\.parquet \("


def example() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "score": [0.1, 0.2, 0.3],
            "name": ["b", "a", "c"],
            "layer": [1, 1, 0],
            "drop": [1.0, np.nan, 2.0],
            "texts": [["x", "y"], [], ["z"]],
        }
    )


def test_round_trip_is_sorted_by_key_and_keeps_nan_and_lists(tmp_path):
    artifacts.write(tmp_path / "sub" / "a.parquet", example(), SCHEMA, {"seed": 3})
    frame = artifacts.read(tmp_path / "sub" / "a.parquet", SCHEMA)
    assert frame.columns.tolist() == SCHEMA.names
    assert frame["name"].tolist() == ["c", "a", "b"]
    assert frame["texts"].map(list).tolist() == [["z"], [], ["x", "y"]]
    assert frame["drop"].isna().tolist() == [False, True, False]
    assert artifacts.provenance(tmp_path / "sub" / "a.parquet") == {"seed": 3}


def test_equal_content_gives_equal_bytes_whatever_the_row_and_column_order(tmp_path):
    artifacts.write(tmp_path / "a.parquet", example(), SCHEMA, {"x": 1, "y": 2})
    shuffled = example().iloc[[2, 0, 1]][["texts", "layer", "drop", "name", "score"]]
    artifacts.write(tmp_path / "b.parquet", shuffled, SCHEMA, {"y": 2, "x": 1})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="score"), r"missing columns \['score'\]"),
        (lambda f: f.assign(extra=1), r"undeclared columns \['extra'\]"),
        (lambda f: f.assign(score=[0.1, np.nan, 0.3]), "1 values are NaN, such as at .*'a'"),
        (lambda f: f.assign(name=["b", None, "c"]), "1 values are null"),
        (lambda f: f.assign(layer=1, name="a"), "2 repeated keys"),
        (lambda f: f.assign(layer=[0.5, 1, 2]), "layer is not int64"),
    ],
)
def test_a_frame_that_breaks_its_schema_is_refused_and_nothing_is_written(
    tmp_path, change, message
):
    path = tmp_path / "a.parquet"
    artifacts.write(path, example(), SCHEMA)
    before = path.read_bytes()
    with pytest.raises(ArtifactError, match=message):
        artifacts.write(path, change(example()), SCHEMA)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_reading_names_the_file_and_the_rule_to_run_again(tmp_path):
    path = tmp_path / "a.parquet"
    with pytest.raises(ArtifactError, match=r"a.parquet is missing.*" + REMEDY):
        artifacts.read(path, SCHEMA)
    artifacts.write(path, example(), SCHEMA)
    newer = Schema("example", 3, "make_example", "", SCHEMA.key, SCHEMA.columns)
    with pytest.raises(ArtifactError, match="version 2, but example version 3 is expected"):
        artifacts.read(path, newer)
    renamed = (*SCHEMA.columns[:-1], Column("words", "list<string>", "", ""))
    with pytest.raises(ArtifactError, match="has columns"):
        artifacts.read(path, Schema("example", 2, "make_example", "", SCHEMA.key, renamed))


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b""])
def test_a_truncated_file_is_never_read_as_data(tmp_path, damage):
    path = tmp_path / "a.parquet"
    artifacts.write(path, example(), SCHEMA)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ArtifactError, match=r"(damaged|not a readable).*" + REMEDY):
        artifacts.read(path, SCHEMA)


def test_no_changed_bit_is_ever_read_as_data(tmp_path):
    path = tmp_path / "a.parquet"
    artifacts.write(path, example(), SCHEMA)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match=r"a.parquet.*" + REMEDY):
            artifacts.read(path, SCHEMA)
    path.write_bytes(whole)
    pd.testing.assert_frame_equal(artifacts.read(path, SCHEMA), artifacts.read(path, SCHEMA))


@pytest.mark.parametrize(
    "where",
    [
        {"layer": 1},
        {"name": "b", "layer": 1},
        {"name": "b", "layer": 0},  # both are there, but in no row
        {"score": 0.3},
        {},
    ],
)
@pytest.mark.parametrize("rows_together", [1, 2, 1 << 20])
def test_rows_with_some_values_are_those_of_the_whole(tmp_path, monkeypatch, where, rows_together):
    monkeypatch.setattr(artifacts, "ROW_GROUP", rows_together)
    artifacts.write(tmp_path / "a.parquet", example(), SCHEMA)
    whole = artifacts.read(tmp_path / "a.parquet", SCHEMA)
    asked = [whole[column] == value for column, value in where.items()]
    expected = whole[np.logical_and.reduce([[True] * 3, *asked])].reset_index(drop=True)
    found = artifacts.read(tmp_path / "a.parquet", SCHEMA, where)
    pd.testing.assert_frame_equal(found, expected)


def test_some_rows_of_a_damaged_or_other_file_are_refused_all_the_same(tmp_path):
    """Also where the rows asked for are whole, or the file has no such column."""
    path = tmp_path / "a.parquet"
    artifacts.write(path, example(), SCHEMA)
    with pytest.raises(ArtifactError, match=r"example has no columns \['rank'\]; it has \['layer'"):
        artifacts.read(path, SCHEMA, {"layer": 1, "rank": 0})
    whole = path.read_bytes()
    place = pq.read_metadata(path).row_group(0).column(2).data_page_offset
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
    with pytest.raises(ArtifactError, match=r"a.parquet is damaged.*--force \S+a.parquet"):
        artifacts.read(path, SCHEMA, {"layer": 1})
    example().drop(columns="layer").to_parquet(path)
    with pytest.raises(ArtifactError, match="holds no HONES artifact"):
        artifacts.read(path, SCHEMA, {"layer": 1})


def test_a_file_without_a_digest_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    artifacts.write(path, example(), SCHEMA)
    pq.write_table(pq.read_table(path), path)
    with pytest.raises(ArtifactError, match="has no digest of its bytes; make again"):
        artifacts.read(path, SCHEMA)


def test_a_parquet_file_of_somebody_else_is_refused(tmp_path):
    example().to_parquet(tmp_path / "a.parquet")
    with pytest.raises(ArtifactError, match="holds no HONES artifact"):
        artifacts.read(tmp_path / "a.parquet", SCHEMA)


def test_every_schema_says_what_it_holds():
    schemas = all_schemas()
    assert len({schema.name for schema in schemas}) == len(schemas) >= 15
    for schema in schemas:
        assert set(schema.key) <= set(schema.names)
        assert all(column.meaning for column in schema.columns), schema.name
        assert all(column.type in artifacts.TYPES for column in schema.columns), schema.name


@pytest.mark.parametrize(
    ("names", "elsewhere"),
    [
        ("ood_(items|inst|ret|pred|group_p|steered)", "COCO|task/image|or test$"),
        ("head_budget$|ratio_drop", "test|avg"),
        ("ranker_agreement|stability", "avg"),
    ],
    ids=["other data sets", "sweeps", "agreement"],
)
def test_columns_taken_from_another_schema_hold_for_its_own_data(names, elsewhere):
    schemas = [schema for schema in all_schemas() if re.match(names, schema.name)]
    said = [(schema.name, column) for schema in schemas for column in schema.columns]
    assert len(schemas) >= 2
    assert [found for found in said if re.search(elsewhere, found[1].meaning)] == []
