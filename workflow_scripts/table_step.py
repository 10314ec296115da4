"""What the scripts that make tables share: reading a kind of artifact for every model and task."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.tables.common import Bootstrap
from hones_core.tasks import TASKS


def read_per_task(
    snakemake: Any,
    name: str,
    schema: Schema,
    of: str = "tasks",
    where: Mapping[str, str | int | bool] | None = None,
) -> dict[tuple[str, str], pd.DataFrame]:
    """{(model, task): artifact} of the input files `name`.

    `of` as in `paths_per_task`, `where` as in `artifacts.read`.
    """
    paths = paths_per_task(snakemake, name, of)
    return {key: artifacts.read(path, schema, where) for key, path in paths.items()}


def read_per_model(snakemake: Any, name: str, schema: Schema) -> dict[str, pd.DataFrame]:
    """{model: artifact} of the input files `name`."""
    paths = paths_per_model(snakemake, name)
    return {model: artifacts.read(path, schema) for model, path in paths.items()}


def paths_per_task(snakemake: Any, name: str, of: str = "tasks") -> dict[tuple[str, str], str]:
    """{(model, task): path} of the input files `name`, listed model by model.

    `of` is the parameter that lists what each of `models` has one file of. ValueError for a path
    that does not lie in the folders of its model and task.
    """
    cfg = snakemake.params.cfg
    keys = product(cfg["models"], cfg[of])
    return {key: _own(path, *key) for key, path in zip(keys, snakemake.input[name], strict=True)}


def paths_per_model(snakemake: Any, name: str) -> dict[str, str]:
    """{model: path} of the input files `name`; raises as `paths_per_task` does."""
    paths = zip(snakemake.params.cfg["models"], snakemake.input[name], strict=True)
    return {model: _own(path, model) for model, path in paths}


def _own(path: str, *folders: str) -> str:
    if not set(folders) <= set(Path(path).parts):
        raise ValueError(f"{path} is taken for that of {', '.join(folders)}")
    return path


def common_arguments(snakemake: Any) -> dict[str, Any]:
    """What every table function with intervals takes: the tasks' scores and the bootstrap."""
    cfg = snakemake.params.cfg
    return {
        "scores": {task: TASKS[task].score for task in cfg["tasks"]},
        "bootstrap": Bootstrap(resamples=cfg["bootstrap_resamples"], seed=cfg["seed"]),
    }
