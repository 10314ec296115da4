"""What the scripts that make tables share: reading a kind of artifact for every model and task."""

from pathlib import Path
from typing import Any

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.tables.common import Bootstrap
from hones_core.tasks import TASKS


def read_per_task(snakemake: Any, name: str, schema: Schema) -> dict[tuple[str, str], pd.DataFrame]:
    """{(model, task): artifact} of the input files `name`, listed model by model."""
    cfg = snakemake.params.cfg
    keys = [(model, task) for model in cfg["compare_with"] for task in cfg["tasks"]]
    paths = snakemake.input[name]
    return {key: _read(path, schema, *key) for key, path in zip(keys, paths, strict=True)}


def read_per_model(snakemake: Any, name: str, schema: Schema) -> dict[str, pd.DataFrame]:
    """{model: artifact} of the input files `name`."""
    paths = snakemake.input[name]
    models = snakemake.params.cfg["compare_with"]
    return {model: _read(path, schema, model) for model, path in zip(models, paths, strict=True)}


def _read(path: str, schema: Schema, *folders: str) -> pd.DataFrame:
    """The artifact, if it lies in the folders of its model and task; else ValueError."""
    if not set(folders) <= set(Path(path).parts):
        raise ValueError(f"{path} is taken for that of {', '.join(folders)}")
    return artifacts.read(path, schema)


def common_arguments(snakemake: Any) -> dict[str, Any]:
    """What every table function takes: the tasks' scores, the paper's model, the bootstrap."""
    cfg = snakemake.params.cfg
    return {
        "scores": {task: TASKS[task].score for task in cfg["tasks"]},
        "compare_with": cfg["compare_with"],
        "bootstrap": Bootstrap(resamples=cfg["bootstrap_resamples"], seed=cfg["seed"]),
    }
