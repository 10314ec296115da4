"""A run with the toy Qwen2.5-VL on real COCO annotations; photographs are stand-ins."""

from pathlib import Path

import numpy as np
from benchmark_support import sample_paths
from chain_support import Results, small_run
from PIL import Image
from workflow_support import copy_project, succeed, write_config

from hones_core.schemas import benchmark

SIZES = {"discovery": 21, "development": 18, "test": 21}
QUERIES = {"discovery": 6, "development": 5, "test": 6}


def sample_run(folder: Path) -> tuple[Path, tuple[str, ...], Results]:
    """(project, arguments, results) of a run whose images are there and nothing more.

    Skips the test where the sample is not.
    """
    project = copy_project(folder)
    config = write_config(project, "coco.yaml", _config(project))
    arguments = ("--cores", "1", "--configfile", config)
    results = Results(project, "coco", "qwen2_5_vl")
    succeed(project, "results/coco/benchmark/splits.parquet", *arguments)
    _draw_stand_ins(project, results)
    return project, arguments, results


def _config(project: Path) -> dict:
    return small_run(
        "coco",
        "qwen2_5_vl",
        data={
            "image_folder": str(project / "photographs"),
            **{kind: str(path) for kind, path in sample_paths().items()},
            "toy_scenes": None,
        },
        # The other rankers run in the toy's chain.
        neurons={"random_seeds": 2, "rankers": ["hones", "ma", "random"]},
        stability={"rankers": ["hones"], "parts": 2, "draws": 2},
        benchmark={"splits": SIZES, "retrieval": {"n_queries": QUERIES, "n_negatives": 15}},
    )


def _draw_stand_ins(project: Path, results: Results) -> None:
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
