"""Steering: scores and gains over the unchanged model (paper's Table 3)."""

from collections.abc import Mapping

import pandas as pd

from hones_core.schemas.tables import STEERING
from hones_core.statistics import Sampled, Score, combine, difference, mean_of, summarize
from hones_core.tables.common import (
    AVERAGE,
    TASK_ORDER,
    Bootstrap,
    Frames,
    PaperFigures,
    columns_of,
    models_of,
    ordered,
    ordered_tasks,
    paired_scores,
    table_frame,
    tasks_of,
)

METHOD_ORDER = ("base", "fixed_amp", "grid_search", "random", "hones_nokl", "hones")
BASE = "base"


def steering(
    steered: Frames,
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Scores in [0, 1] and gains in percentage points, in the columns of schemas.tables.STEERING.

    `steered` are STEERED_PREDICTIONS of each (model, task), with the method `base` among the
    methods; `paper` is steering_score.csv. Raises KeyError if `base` is absent, AlignmentError if
    the methods' instances differ.
    """
    figures = PaperFigures(paper, "method", "score", compare_with)
    rows = []
    for model in models_of(steered):
        sampled = _scores(steered, scores, model, bootstrap)
        tasks = ordered_tasks(task for _, task in sampled)
        n_instances = _instances(steered, model)
        complete = set(TASK_ORDER) <= set(tasks)  # the paper's averages are over all four
        for method in ordered((name for name, _ in sampled), METHOD_ORDER):
            for task in (task for task in tasks if (method, task) in sampled):
                score = sampled[method, task]
                gain = combine(_gain, sampled[BASE, task], score)
                row = {"model": model, "method": method, "task": task}
                row |= {"n_instances": n_instances[task], "paper_model": figures.model(model)}
                row |= columns_of("score", summarize(score, bootstrap.level), p=False)
                row |= columns_of("gain", summarize(gain, bootstrap.level))
                known = complete or task != AVERAGE
                figure = figures.figure(model, method, task) if known else float("nan")
                rows.append(row | {"paper_score": figure})
    return table_frame(rows, STEERING, bootstrap)


def _gain(base, system):
    return difference(base, system) * 100.0  # scores are in [0, 1], gains in percentage points


def _instances(steered: Frames, model: str) -> dict[str, int]:
    counts = {
        task: steered[model, task]["instance_id"].nunique() for task in tasks_of(steered, model)
    }
    return {**counts, AVERAGE: sum(counts.values())}


def _scores(
    steered: Frames, scores: Mapping[str, Score], model: str, bootstrap: Bootstrap
) -> dict[tuple[str, str], Sampled]:
    """The sampled scores: (method, task), and (method, avg) for methods that have every task."""
    sampled: dict[tuple[str, str], Sampled] = {}
    tasks = tasks_of(steered, model)
    for task in tasks:
        what = f"steered predictions of {model}, {task}"
        systems = dict(iter(steered[model, task].groupby("method")))
        if BASE not in systems:
            raise KeyError(f"{what}: no method {BASE!r} to compare with")
        systems = {BASE: systems.pop(BASE), **systems}
        for method, score in paired_scores(systems, scores[task], bootstrap, what).items():
            sampled[method, task] = score
    for method in dict.fromkeys(method for method, _ in sampled):
        parts = [sampled[method, task] for task in tasks if (method, task) in sampled]
        if len(parts) == len(tasks):
            sampled[method, AVERAGE] = mean_of(parts)
    return sampled
