"""The whole chain with the toy Qwen2.5-VL on real COCO annotations; photographs are stand-ins."""

from pathlib import Path

import numpy as np
import pytest
from chain_support import (
    Results,
    check_counts,
    check_head_effects,
    check_masked_sets,
    check_tables,
    shown,
    small_run,
)
from PIL import Image
from workflow_support import ROOT, copy_project, succeed, write_config

from hones_core.schemas import benchmark

SAMPLE = ROOT.parent / "shared" / "coco_sample"
SIZES = {"discovery": 21, "development": 18, "test": 21}
QUERIES = {"discovery": 6, "development": 5, "test": 6}

pytestmark = pytest.mark.skipif(
    not SAMPLE.exists(), reason="needs the real COCO sample in ../shared, which is not here"
)


def config(project: Path) -> dict:
    return small_run(
        "coco",
        "qwen2_5_vl",
        data={
            "image_folder": str(project / "photographs"),
            "captions": str(SAMPLE / "captions_train2014.subset.json"),
            "coco_text": str(SAMPLE / "cocotext.v2.subset.json"),
            "vqa_questions": str(SAMPLE / "v2_OpenEnded_mscoco_train2014_questions.subset.json"),
            "vqa_annotations": str(SAMPLE / "v2_mscoco_train2014_annotations.subset.json"),
            "toy_scenes": None,
        },
        # The other rankers run in the toy's chain.
        neurons={"random_seeds": 2, "rankers": ["hones", "ma", "random"]},
        stability={"rankers": ["hones"], "parts": 2, "draws": 2},
        benchmark={"splits": SIZES, "retrieval": {"n_queries": QUERIES, "n_negatives": 15}},
    )


def draw_stand_ins(project: Path, results: Results) -> None:
    """A noisy image of the true size for each of the selected photographs."""
    records = results.read("benchmark/records", benchmark.RECORDS).set_index("image_id")
    splits = results.read("benchmark/splits", benchmark.SPLITS)
    used = splits.loc[splits["split"] != "unused", "image_id"]
    folder = project / "photographs"
    folder.mkdir()
    for image_id in used:
        record = records.loc[image_id]
        pixels = np.random.default_rng(image_id).integers(0, 256, (record.height, record.width, 3))
        Image.fromarray(pixels.astype("uint8")).save(folder / record.file_name, quality=60)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("coco"))
    arguments = (
        "--cores",
        "1",
        "--configfile",
        write_config(project, "coco.yaml", config(project)),
    )
    results = Results(project, "coco", "qwen2_5_vl")
    succeed(project, "results/coco/benchmark/splits.parquet", *arguments)
    draw_stand_ins(project, results)
    # The rest of what a run makes is made in the toy's chain.
    targets = [f"results/coco/{name}" for name in shown(results.model)]
    succeed(project, *targets, *arguments)
    return project, results


def test_the_usable_images_boxes_and_captions_are_those_of_the_sample(run):
    results = run[1]
    records = results.read("benchmark/records", benchmark.RECORDS)
    excluded = results.read("benchmark/excluded", benchmark.EXCLUDED)
    assert len(records) == 1332
    assert excluded["image_id"].tolist() == [491229]
    assert "blank" in excluded["reason"].item()
    assert records["box_clamped"].sum() == 40
    assert (records["box_x"] >= 0).all() and (records["box_y"] >= 0).all()
    assert (records["box_x"] + records["box_w"] <= records["width"]).all()
    assert (records["box_y"] + records["box_h"] <= records["height"]).all()
    assert (records["captions"].map(len) == 5).all()
    assert (records["answers"].map(len) == 10).all()
    assert not records["captions"].explode().str.contains(r"[\n\u2028]|^\s|\s$", regex=True).any()


def test_ocr_images_have_the_true_sizes(run):
    results = run[1]
    drawn = results.read("benchmark/ocr_images", benchmark.OCR_IMAGES)
    records = results.read("benchmark/records", benchmark.RECORDS).set_index("image_id")
    assert len(drawn) == sum(SIZES.values())
    for row in drawn.itertuples():
        with Image.open(results.folder / "benchmark" / "ocr_images" / row.file_name) as image:
            assert image.size == tuple(records.loc[row.image_id, ["width", "height"]])


def test_pools_hold_no_caption_of_the_query(run):
    results = run[1]
    pools = results.read("benchmark/retrieval_pools", benchmark.RETRIEVAL_POOLS)
    records = results.read("benchmark/records", benchmark.RECORDS).set_index("image_id")
    for image_id, pool in pools.groupby("image_id"):
        own = set(records.loc[image_id, "captions"])
        assert len(pool) == 16 and pool["is_positive"].sum() == 1
        assert pool.loc[pool["is_positive"], "caption"].item() in own
        assert not own & set(pool.loc[~pool["is_positive"], "caption"])


def test_counts_sets_effects_and_tables(run):
    results = run[1]
    check_counts(results, SIZES, QUERIES)
    check_masked_sets(results, 0.01)
    check_head_effects(results, {"vqa": 12, "ocr": 12, "caption": 12, "retrieval": 4})
    check_tables(results)
