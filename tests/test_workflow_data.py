"""What is made on demand, run on a few scenes: other data sets, erased texts, the data check."""

import pytest
from workflow_support import copy_project, snakemake, succeed, write_config

from hones_core import artifacts
from hones_core.schemas.benchmark import TEXT_ERASED_IMAGES
from hones_core.schemas.benchmark_tables import DATA_CHECK
from hones_core.schemas.ood import (
    OOD_FALSE_NEGATIVES,
    OOD_INSTANCES,
    OOD_PREDICTIONS,
    OOD_SPLITS,
)
from hones_core.tasks import ocr
from hones_core.tasks.ood_sets import OOD_SETS

CONFIG = {
    "data": {"toy_scenes": {"n_images": 12}},
    "benchmark": {"splits": {"discovery": 5, "development": 3, "test": 4}},
    "heads": {"samples": {"vqa": None, "ocr": None, "caption": None}},
    "neurons": {"token_level_samples": None},
    "ood": {"flickr30k": {"n_queries": 3, "n_negatives": 15}, "toy_scenes": {"n_images": 12}},
}
TEXTVQA = "results/toy/llava/ood/textvqa/base_predictions.parquet"
ERASED = "results/toy/benchmark/text_erased_images.parquet"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    path = copy_project(tmp_path_factory.mktemp("data"))
    write_config(path, "small.yaml", CONFIG)
    return path


def arguments(*targets):
    return ("--cores", "2", *targets, "--configfile", "small.yaml")


def test_on_demand_targets(project):
    said = succeed(project, *arguments("ood_benchmark", "check_data", ERASED, TEXTVQA))
    assert "| image_folder | images needed | 12 | 12 | ok |" in said
    results = project / "results" / "toy"
    erased = artifacts.read(project / ERASED, TEXT_ERASED_IMAGES)
    assert len(erased) == 12 and (erased["n_regions"] > 0).all()
    assert all(
        (results / "benchmark/text_erased_images" / name).exists() for name in erased["file_name"]
    )
    predictions = artifacts.read(project / TEXTVQA, OOD_PREDICTIONS)
    items = artifacts.read(
        results / "benchmark/ood/instances/textvqa.parquet", OOD_INSTANCES
    ).set_index("instance_id")
    assert len(predictions) == 12
    for row in predictions.itertuples():
        answers = items.loc[row.instance_id, "references"]
        assert row.anls == ocr.anls(row.prediction, tuple(answers))
    for ood_set in OOD_SETS:
        folder = results / "benchmark" / "ood"
        instances = artifacts.read(folder / "instances" / f"{ood_set}.parquet", OOD_INSTANCES)
        splits = artifacts.read(folder / "splits" / f"{ood_set}.parquet", OOD_SPLITS)
        assert len(instances) == (3 if ood_set == "flickr30k_retrieval" else 12)
        assert len(splits) == 10 * len(instances)
    table = artifacts.read(results / "tables" / "ood_false_negatives.parquet", OOD_FALSE_NEGATIVES)
    assert table["n_negatives"].item() == 45


def test_the_check_looks_again_and_stops_with_a_table(project):
    folder = project / "results/toy/shifted/gqa/images"
    victim = min(folder.glob("*.jpg"))
    victim.unlink()
    done = snakemake(project, *arguments("check_data"))
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"11; 1 are missing, such as {victim.name}" in said
    assert "check_data stopped: 1 problems with the data: gqa.image_folder" in said
    table = artifacts.read(project / "results/toy/tables/data_check.parquet", DATA_CHECK)
    assert table["status"].tolist().count("problem") == 1
