"""What the tables' Markdown says, and that the files are whole and repeatable."""

import numpy as np
import pandas as pd
import pytest
from tables_support import EMPTY, TASKS, row_of

from hones_core import artifacts
from hones_core.schemas import tables as schemas
from hones_core.tables.render import to_markdown, write_table

pytest_plugins = ["tables_fixtures"]


def cells(markdown, section, label, table=0):
    """The cells of one row of the `table`-th table of a model's section, by column."""
    body = next(part for part in markdown.split("\n## ") if part.startswith(section))
    lines = [block for block in body.split("\n\n") if block.startswith("|")][table].split("\n")
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return dict(zip(header, next(row for row in rows if row[0].startswith(label)), strict=True))


def test_markdown_of_masking(drops):
    text = to_markdown(drops, "masking_drop")
    assert text.startswith("Relative drop of the score in percent")
    assert "95 % interval, paired bootstrap over the test instances (200 resamples" in text
    row = cells(text, "llava (paper: llava-1.5-7b)", "hones (15 neurons)")
    assert list(row)[1:] == [*TASKS, "avg"]
    found = row_of(drops, model="llava", ranker="hones", task="vqa")
    numbers = f"{found['drop']:.1f} [{found['drop_low']:.1f}, {found['drop_high']:.1f}]"
    assert row["vqa"] == f"**{numbers}** (paper 27.3)"
    assert row["avg"].endswith("(paper 18.38)")
    random = row_of(drops, model="llava", ranker="random", task="ocr")
    cell = cells(text, "llava", "random")["ocr"]
    assert f"± {random['seed_sd']:.1f} (paper 1.62)" in cell
    beyond = cells(text, "llava", "hones", table=1)["vqa"]
    assert beyond.startswith(f"{found['excess']:.1f} [")
    assert cells(text, "llava", "dla")["ocr"] == ""
    assert "paper" not in "".join(cells(text, "qwen", "hones").values())


def test_markdown_of_groups(groups):
    text = to_markdown(groups, "group_drop")
    assert cells(text, "llava", f"{EMPTY} (0 neurons)")["ocr"] == "empty"
    assert cells(text, "llava", f"{EMPTY} (0 neurons)")["vqa"] == ""
    cell = cells(text, "llava", "vqa+ocr (5 neurons)")["ocr"]
    assert cell.startswith("dominant: **") and "(random " in cell
    assert cells(text, "llava", "vqa+ocr+caption (")["caption"].endswith("; paper 14.3)")


def test_markdown_of_steering(gains):
    text = to_markdown(gains, "steering")
    assert cells(text, "llava", "hones")["retrieval"].endswith("(paper 0.9626)")
    assert cells(text, "llava", "hones", table=1)["vqa"].endswith("p 0.005")
    assert "| base | " not in text.split("Gain over the base")[1].split("KL to the base")[0]
    assert "± " in cells(text, "llava", "random")["vqa"]
    assert cells(text, "llava", "random", table=2)["vqa"] == "0.05"
    assert cells(text, "llava", "base", table=3)["vqa"] == "0.500"


def test_unknown_kind_is_refused(gains):
    with pytest.raises(ValueError, match="unknown table 'steers'"):
        to_markdown(gains, "steers")


def test_written_tables_are_whole_and_repeat_byte_for_byte(tmp_path, drops, groups, gains):
    written = {schemas.MASKING_DROP: drops, schemas.GROUP_DROP: groups, schemas.STEERING: gains}
    for folder in ("first", "second"):
        for schema, frame in written.items():
            write_table(frame, schema, tmp_path / folder / schema.name, {"seed": 1})
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    names = sorted(schema.name for schema in written)
    assert files == [f"{name}.{suffix}" for name in names for suffix in ("csv", "md", "parquet")]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    read = artifacts.read(tmp_path / "first" / "masking_drop.parquet", schemas.MASKING_DROP)
    assert len(read) == len(drops)
    as_csv = pd.read_csv(tmp_path / "first" / "masking_drop.csv", keep_default_na=True)
    np.testing.assert_allclose(as_csv["drop"], drops["drop"])


def test_nothing_is_written_if_the_frame_breaks_the_schema(tmp_path, drops):
    with pytest.raises(artifacts.ArtifactError):
        write_table(drops.drop(columns="drop"), schemas.MASKING_DROP, tmp_path / "masking_drop")
    assert list(tmp_path.iterdir()) == []
