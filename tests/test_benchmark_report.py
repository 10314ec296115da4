"""The funnel, the boxes' sizes, the false-negative report, shards, erased texts, the PNG writer."""

import numpy as np
import pandas as pd
import pytest
from benchmark_support import HEIGHT, WIDTH, official, records_of, sample_paths, text_box, write
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hones_core import artifacts
from hones_core.benchmark import overlays
from hones_core.benchmark.annotations import read_coco_text
from hones_core.benchmark.errors import BenchmarkError, ImageError
from hones_core.benchmark.image_shards import gather_manifests
from hones_core.benchmark.overlays import draw_ocr_images
from hones_core.benchmark.png import save_png
from hones_core.benchmark.report import benchmark_funnel, box_sizes, false_negatives
from hones_core.benchmark.selection import build_records
from hones_core.benchmark.splits import build_splits
from hones_core.benchmark.text_erasure import erase_image_texts, erase_text, list_text_regions
from hones_core.schemas.benchmark import OCR_IMAGES, TEXT_ERASED_IMAGES, TEXT_REGIONS
from hones_core.schemas.benchmark_tables import (
    BENCHMARK_FUNNEL,
    BOX_SIZES,
    RETRIEVAL_FALSE_NEGATIVES,
)
from hones_core.tables.plain import plain_markdown, write_plain_table

BLUE = (0, 0, 255)


def test_funnel(tmp_path):
    data = official(range(1, 11))
    del data["coco_text"]["imgs"]["1"], data["coco_text"]["anns"]["7"]
    data["vqa_annotations"]["annotations"][1]["answers"].pop()
    data["coco_text"]["anns"]["21"]["utf8_string"] = " "
    records, excluded = records_of(tmp_path, data)
    splits = build_splits(records["image_id"], 3, 1, 2)
    table = benchmark_funnel(records, excluded, splits)
    counts = {(row.kind, row.what): row.n_images for row in table.itertuples()}
    assert counts == {
        ("source", "any"): 10,
        ("source", "captions"): 10,
        ("source", "coco_text"): 9,
        ("source", "vqa"): 10,
        ("remaining", "in all three sources"): 9,
        ("remaining", "with complete annotations"): 7,
        ("remaining", "selected for a split"): 6,
        ("excluded", "not_in_coco_text"): 1,
        ("excluded", "not_ten_answers"): 1,
        ("excluded", "blank_transcription"): 1,
        ("split", "discovery"): 3,
        ("split", "development"): 1,
        ("split", "test"): 2,
        ("split", "unused"): 1,
    }
    write_plain_table(table, BENCHMARK_FUNNEL, tmp_path / "funnel")
    text = (tmp_path / "funnel.md").read_text()
    assert "| 4 | remaining | in all three sources | 9 | 90 |" in text
    assert len(pd.read_csv(tmp_path / "funnel.csv")) == len(table)


def test_box_sizes_of_the_sample(tmp_path):
    records, excluded = build_records(**sample_paths())
    splits = build_splits(records["image_id"], 700, 200, 300)
    table = box_sizes(records, splits)
    write_plain_table(table, BOX_SIZES, tmp_path / "boxes")
    usable = table.set_index("split").loc["usable"]
    assert (usable["n_boxes"], usable["n_clamped"]) == (1332, 40)
    annotated = [
        box for found in read_coco_text(sample_paths()["coco_text"]).boxes.values() for box in found
    ]
    assert len(annotated) == 1333
    assert sum(box.box[3] < 8 for box in annotated) == 116  # the blank text is one of them
    assert sum(min(box.box[:2]) < 0 for box in annotated) == 22
    assert usable["n_under_8_px"] == (records["box_h"] < 8).sum()
    assert usable["under_8_px"] == pytest.approx(100 * usable["n_under_8_px"] / 1332, abs=1e-3)
    assert usable["n_under_12_px"] > usable["n_under_8_px"]
    parts = table[table["split"] != "usable"]
    assert parts["n_boxes"].tolist() == [700, 200, 300]
    funnel = benchmark_funnel(records, excluded, splits).set_index("what")["n_images"]
    assert funnel["any"] == funnel["in all three sources"] == 1333
    assert (funnel["with complete annotations"], funnel["blank_transcription"]) == (1332, 1)


def unit(*values):
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def test_false_negatives(tmp_path):
    vectors = {
        "own": unit(1, 0),
        "near sibling": unit(1, 0.5),  # 0.894
        "far sibling": unit(0, 1),  # 0: the median of the two is 0.447
        "Same!": unit(1, 0.1),  # 0.995
        "same": unit(1, 0.4),  # 0.928
        "other": unit(1, 2),  # 0.447
        "unlike": unit(-1, 0),
    }
    embeddings = pd.DataFrame({"caption": list(vectors), "embedding": list(vectors.values())})
    rows = [("own", True, 1)] + [
        (text, False, image) for text, image in zip(list(vectors)[3:], (2, 2, 3, 4), strict=True)
    ]
    pools = pd.DataFrame(rows, columns=["caption", "is_positive", "caption_image_id"])
    pools = pools.assign(image_id=1, split="test", candidate=range(5))
    pools["cosine"] = [float(vectors[text] @ vectors["own"]) for text in pools["caption"]]
    captions = {1: ["own", "near sibling", "far sibling"]}
    table = false_negatives(pools, captions, embeddings)
    write_plain_table(table, RETRIEVAL_FALSE_NEGATIVES, tmp_path / "table")
    row = table.iloc[0].to_dict()
    assert (row["n_queries"], row["n_negatives"], row["distinct_images"]) == (1, 4, 3.0)
    assert (row["n_cosine_90"], row["n_cosine_95"]) == (2, 1)
    assert (row["cosine_90"], row["cosine_95"]) == (50.0, 25.0)
    assert row["n_closer_than_sibling"] == 2
    assert (row["n_duplicates"], row["n_near_duplicates"]) == (0, 1)
    assert "| test | 1 | 4 | 2 | 50 | 1 | 25 |" in plain_markdown(table, RETRIEVAL_FALSE_NEGATIVES)


@pytest.fixture(scope="module")
def benchmark(tmp_path_factory):
    """Six photographs in splits, with a further, illegible region on each."""
    folder = tmp_path_factory.mktemp("benchmark")
    data = official(range(1, 7))
    for image_id in range(1, 7):
        box_id = 1000 + image_id
        data["coco_text"]["anns"][str(box_id)] = text_box(
            box_id, image_id, legibility="illegible", bbox=[-4.5, 30.2, 10.0, 40.0]
        )
    data["coco_text"]["anns"]["2001"] = text_box(2001, 1, bbox=[70.0, 5.0, 9.0, 9.0])
    paths = write(folder, data)
    records, _ = build_records(**paths)
    splits = build_splits(records["image_id"], 3, 1, 2)
    (folder / "images").mkdir()
    for record in records.itertuples():
        pixels = np.random.default_rng(record.image_id).integers(0, 250, (HEIGHT, WIDTH, 3))
        image = Image.fromarray(pixels.astype(np.uint8))
        image.save(folder / "images" / record.file_name, quality=95)
    return folder, paths, records, splits


def test_shards_are_gathered_and_checked(benchmark, tmp_path):
    folder, _, records, splits = benchmark
    parts = [
        draw_ocr_images(records, splits, folder / "images", tmp_path / f"{k}", BLUE, 2, (k, 4))
        for k in range(4)
    ]
    whole = gather_manifests(parts, splits, "draw_ocr_images")
    artifacts.write(tmp_path / "m.parquet", whole, OCR_IMAGES)
    assert whole["image_id"].tolist() == list(range(1, 7))
    assert all((tmp_path / name).is_file() for name in whole["file_name"])
    with pytest.raises(BenchmarkError, match=r"5 images where the splits have 6.*draw_ocr_images"):
        gather_manifests([parts[0], parts[1], parts[2][:0], parts[3]], splits, "draw_ocr_images")
    with pytest.raises(BenchmarkError, match="8 images where"):
        gather_manifests([*parts, parts[0]], splits, "draw_ocr_images")


def test_more_shards_than_images(benchmark, tmp_path):
    folder, _, records, splits = benchmark
    args = (records, splits, folder / "images")
    parts = [draw_ocr_images(*args, tmp_path / f"{k}", BLUE, 2, (k, 9)) for k in range(9)]
    assert len(gather_manifests(parts, splits, "draw_ocr_images")) == 6


def test_an_image_that_disappears_between_check_and_use_is_named(benchmark, tmp_path, monkeypatch):
    folder, _, records, splits = benchmark
    gone = tmp_path / "gone"
    gone.mkdir()
    for path in (folder / "images").iterdir():
        (gone / path.name).write_bytes(path.read_bytes())
    drawn = overlays.draw_outline

    def draw_and_delete(*arguments):
        for path in gone.iterdir():
            path.unlink()
        return drawn(*arguments)

    monkeypatch.setattr(overlays, "draw_outline", draw_and_delete)
    with pytest.raises(ImageError, match="is missing; put the official file there"):
        draw_ocr_images(records, splits, gone, tmp_path / "out", BLUE, 2)
    assert len(list((tmp_path / "out").iterdir())) == 1  # no half image


def test_all_regions_are_erased_and_nothing_else(benchmark, tmp_path):
    folder, paths, records, splits = benchmark
    regions = list_text_regions(paths["coco_text"], splits)
    artifacts.write(tmp_path / "r.parquet", regions, TEXT_REGIONS)
    assert len(regions) == 13 and (~regions["legible"]).sum() == 6
    table = erase_image_texts(records, splits, regions, folder / "images", tmp_path / "e")
    artifacts.write(tmp_path / "e.parquet", table, TEXT_ERASED_IMAGES)
    assert table["n_regions"].tolist() == [2] * 6
    assert table["n_outside"].tolist() == [1, 0, 0, 0, 0, 0]
    inside = np.zeros((HEIGHT, WIDTH), bool)
    inside[6:16, 8:28] = True
    inside[30:48, 0:6] = True
    for row, record in zip(table.itertuples(), records.itertuples(), strict=True):
        before = np.asarray(Image.open(folder / "images" / record.file_name).convert("RGB"))
        after = np.asarray(Image.open(tmp_path / "e" / row.file_name))
        assert np.array_equal(after[~inside], before[~inside])
        mean = np.rint(before.reshape(-1, 3).mean(axis=0))
        assert (after[inside] == mean).all()
        assert row.erased_share == inside.mean()


def test_an_image_without_regions_stays_as_it_is():
    image = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))
    erased, share, outside = erase_text(image, [])
    assert np.array_equal(np.asarray(erased), np.asarray(image))
    assert (share, outside) == (0.0, 0)


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 9), height=st.integers(1, 9), seed=st.integers(0, 99))
def test_png_is_lossless(tmp_path_factory, width, height, seed):
    path = tmp_path_factory.mktemp("png") / "a.png"
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    save_png(Image.fromarray(pixels), path)
    with Image.open(path) as image:
        image.load()
        assert (image.mode, image.format) == ("RGB", "PNG")
        assert np.array_equal(np.asarray(image), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]
