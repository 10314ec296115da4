"""Real COCO annotations to the benchmark, and the toy Qwen2.5-VL's answers to it.

Photographs are stand-ins. `make test-long` goes on to the tables and figures of the whole chain.
"""

import pytest
from chain_support import TASKS, check_base_counts
from coco_sample_support import QUERIES, SIZES, sample_run
from PIL import Image
from workflow_support import succeed

from hones_core.schemas import benchmark


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    project, arguments, results = sample_run(tmp_path_factory.mktemp("coco"))
    answers = [f"results/coco/{results.model}/{task}/base_predictions.parquet" for task in TASKS]
    succeed(project, *answers, *arguments)
    return results


def test_the_usable_images_boxes_and_captions_are_those_of_the_sample(results):
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


def test_ocr_images_have_the_true_sizes(results):
    drawn = results.read("benchmark/ocr_images", benchmark.OCR_IMAGES)
    records = results.read("benchmark/records", benchmark.RECORDS).set_index("image_id")
    assert len(drawn) == sum(SIZES.values())
    for row in drawn.itertuples():
        with Image.open(results.folder / "benchmark" / "ocr_images" / row.file_name) as image:
            assert image.size == tuple(records.loc[row.image_id, ["width", "height"]])


def test_pools_hold_no_caption_of_the_query(results):
    pools = results.read("benchmark/retrieval_pools", benchmark.RETRIEVAL_POOLS)
    records = results.read("benchmark/records", benchmark.RECORDS).set_index("image_id")
    for image_id, pool in pools.groupby("image_id"):
        own = set(records.loc[image_id, "captions"])
        assert len(pool) == 16 and pool["is_positive"].sum() == 1
        assert pool.loc[pool["is_positive"], "caption"].item() in own
        assert not own & set(pool.loc[~pool["is_positive"], "caption"])


def test_every_instance_is_answered(results):
    check_base_counts(results, SIZES, QUERIES)
