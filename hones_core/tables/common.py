"""What the tables share: settings, pairing of predictions by instance, the paper's figures."""

import zlib
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import pandas as pd

from hones_core.artifacts import Schema
from hones_core.statistics import (
    Estimate,
    Sampled,
    Score,
    bootstrap_counts,
    check_aligned,
    sample_scores,
)
from hones_core.task_catalogue import TASK_NAMES

Key = TypeVar("Key", bound=Hashable)
Frames = Mapping[tuple[str, str], pd.DataFrame]  # (model, task) -> the artifact as read

PAPER_TASKS = {"vqa", "ocr", "caption", "retrieval"}  # whose mean is the paper's average
AVERAGE = "avg"  # the row of the mean over tasks

# Strategies and methods as the paper's CSV files name them -> our names.
PAPER_NAMES = {
    "Base": "base",
    "AP": "ap",
    "MA": "ma",
    "APE": "ape",
    "DLA": "dla",
    "GroupPatching": "group_patching",
    "QRNCA": "qrnca",
    "LLM-Knowledge": "llm_knowledge",
    "RandNeuron": "random",
    "HONES-NoHead": "no_head",
    "HONES-RandHead": "rand_head",
    "HONES-Gaussian": "gaussian",
    "HONES": "hones",
    "Fixed-Amp": "fixed_amp",
    "Grid-Search": "grid_search",
    "HONES-NoKL": "hones_nokl",
}

DECIMALS = 9  # of the values stored: the last bits of a sum depend on the BLAS library's threads


@dataclass(frozen=True)
class Bootstrap:
    """Settings of the bootstrap: number of resamples, seed, level of the intervals."""

    resamples: int = 10_000
    seed: int = 0
    level: float = 0.95

    def counts(self, instance_ids: Iterable[str]) -> np.ndarray:
        """Counts [B, N] for these instances; one stream for each set of images.

        Tasks over the same images share the resamples, so that an average over tasks is resampled
        by image; tasks over other images get an independent stream.
        """
        images = [instance.rpartition("/")[2] for instance in instance_ids]
        stream = zlib.crc32("\n".join(images).encode())
        return _counts(len(images), self.resamples, (self.seed, stream))


@lru_cache(maxsize=2)  # 60 MB each at N = 3000, B = 10,000; all models and rankers share them
def _counts(n: int, resamples: int, seed: tuple[int, int]) -> np.ndarray:
    return bootstrap_counts(n, resamples, seed)


def ordered(names: Iterable[str], order: Iterable[str]) -> list[str]:
    """`names` without repeats in the given order; those not in it after, as they come."""
    names, order = list(dict.fromkeys(names)), list(order)
    return [name for name in order if name in names] + [name for name in names if name not in order]


def ordered_tasks(names: Iterable[str]) -> list[str]:
    """Task names in task order, the average last."""
    names = list(names)
    tasks = ordered((name for name in names if name != AVERAGE), TASK_NAMES)
    return [*tasks, AVERAGE] if AVERAGE in names else tasks


def models_of(frames: Frames) -> list[str]:
    """The models of `frames`, as they come."""
    return list(dict.fromkeys(model for model, _ in frames))


def tasks_of(frames: Frames, model: str) -> list[str]:
    """The tasks of one model, in task order."""
    return ordered_tasks(task for name, task in frames if name == model)


def frame_of(frames: Frames, model: str, task: str, what: str) -> pd.DataFrame:
    """The frame of (model, task); KeyError that says `what` is missing."""
    if (model, task) not in frames:
        raise KeyError(f"no {what} for model {model}, task {task}")
    return frames[model, task]


def statistics_matrix(frame: pd.DataFrame) -> np.ndarray:
    """The column `statistics` as a matrix [N, S]; ValueError if the rows differ in length."""
    return np.stack([np.asarray(row, dtype=np.float64) for row in frame["statistics"]])


def paired_scores(
    systems: Mapping[Key, pd.DataFrame], score: Score, bootstrap: Bootstrap, what: str
) -> dict[Key, Sampled]:
    """Each system's score on the instances and on the same resamples.

    `systems` maps a key to prediction rows (columns instance_id, statistics); they are brought into
    the order of instance_id. Raises AlignmentError if one has other instances than the first.
    """
    sorted_systems = {key: rows.sort_values("instance_id") for key, rows in systems.items()}
    first, *_ = sorted_systems
    instances = sorted_systems[first]["instance_id"].tolist()
    for key, rows in sorted_systems.items():
        check_aligned(instances, rows["instance_id"].tolist(), f"{what}, {key} against {first}")
    matrices = [statistics_matrix(rows) for rows in sorted_systems.values()]
    sampled = sample_scores(matrices, bootstrap.counts(instances), score)
    return dict(zip(sorted_systems, sampled, strict=True))


def same_instances(base: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The rows of `base` (all splits) whose instances are in `other`."""
    return base[base["instance_id"].isin(other["instance_id"])]


def single(values: pd.Series, what: str) -> int:
    """The one value of `values`; ValueError that names `what` if there are several."""
    distinct = values.unique()
    if len(distinct) != 1:
        raise ValueError(f"{what}: one value expected, found {sorted(distinct.tolist())}")
    return int(distinct[0])


def columns_of(name: str, estimate: Estimate, p: bool = True) -> dict[str, float]:
    """An estimate as the table's columns `name`, `name`_low, _high, _sd and, if asked for, _p."""
    columns = {
        name: estimate.estimate,
        f"{name}_low": estimate.low,
        f"{name}_high": estimate.high,
        f"{name}_sd": estimate.sd,
    }
    return {**columns, f"{name}_p": estimate.p} if p else columns


def table_frame(rows: list[dict], schema: Schema, bootstrap: Bootstrap) -> pd.DataFrame:
    """The rows as the schema's columns, with the bootstrap's settings, rounded to DECIMALS."""
    frame = pd.DataFrame(rows)
    frame["level"] = bootstrap.level
    frame["n_resamples"] = bootstrap.resamples
    return frame[schema.names].round(DECIMALS)


class PaperFigures:
    """The paper's figures by our names.

    `frame` is a CSV of resources/paper as read (or None), with the columns model, task, `name`
    (strategy or method) and `value`; `compare_with` maps a model to the paper's model that it is
    compared with (None or absent: none). Raises ValueError if the frame names an unknown strategy
    or holds two different figures for one place.
    """

    def __init__(
        self,
        frame: pd.DataFrame | None,
        name: str,
        value: str,
        compare_with: Mapping[str, str | None],
        names: Mapping[str, str] | None = PAPER_NAMES,
    ):
        self._compare_with = compare_with
        self._figures: dict[tuple[str, str, str], float] = {}
        for row in [] if frame is None else frame.to_dict("records"):
            if names is not None and row[name] not in names:
                raise ValueError(f"the paper's {name} {row[name]!r} has no counterpart here")
            ours = row[name] if names is None else names[row[name]]
            place, figure = (row["model"], ours, row["task"]), float(row[value])
            if self._figures.setdefault(place, figure) != figure:
                raise ValueError(f"two paper figures for {place}: {self._figures[place]}, {figure}")

    def model(self, model: str) -> str:
        """The paper's model that `model` is compared with, or an empty string."""
        return self._compare_with.get(model) or ""

    def figure(self, model: str, name: str, task: str) -> float:
        """The figure beside `model`'s, or NaN if the paper has none."""
        return self._figures.get((self.model(model), name, task), float("nan"))

    def beside(
        self, model: str, name: str, task: str, places: Collection[tuple[str, str]]
    ) -> float:
        """As `figure`, in a table of (name, task) `places`.

        The paper's averages are over all four tasks and stand beside such only.
        """
        if task == AVERAGE and {task for _, task in places} - {AVERAGE} != PAPER_TASKS:
            return float("nan")
        return self.figure(model, name, task)
