"""Steering: scores and gains (paper's Table 3), pairs of methods (Table 14), side effects."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hones_core.schemas.tables import STEERING, STEERING_BOOTSTRAP, STEERING_SIDE_EFFECTS
from hones_core.statistics import (
    Sampled,
    Score,
    combine,
    difference,
    mean_of,
    spread,
    summarize,
)
from hones_core.tables.common import (
    AVERAGE,
    Bootstrap,
    Frames,
    PaperFigures,
    columns_of,
    frame_of,
    models_of,
    ordered,
    ordered_tasks,
    paired_scores,
    table_frame,
    tasks_of,
)

METHOD_ORDER = ("base", "fixed_amp", "grid_search", "random", "hones_nokl", "hones")
BASE, OURS = "base", "hones"
Runs = dict[tuple[str, str], dict[int, Sampled]]  # (method, task) -> the score of each seed


def steering(
    steered: Frames,
    search: Frames,
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Scores in [0, 1] and gains in percentage points, in the columns of schemas.tables.STEERING.

    `steered` are STEERED_PREDICTIONS of each (model, task), with the method `base` among the
    methods; `search` are STEERING_SEARCH; `paper` is steering_score.csv. Raises KeyError if `base`
    is absent, AlignmentError if the methods' instances differ.
    """
    figures = PaperFigures(paper, "method", "score", compare_with)
    rows = []
    for model in models_of(steered):
        runs = _runs(steered, scores, model, bootstrap)
        costs = _beside(steered, search, model)
        n_instances = _instances(steered, model)
        for method, task in _in_order(runs):
            seeds = runs[method, task]
            score = mean_of(list(seeds.values()))
            gain = combine(_points, runs[BASE, task][0], score)
            row = {"model": model, "method": method, "task": task, "n_seeds": len(seeds)}
            row |= {"n_instances": n_instances[task], "paper_model": figures.model(model)}
            row |= columns_of("score", summarize(score, bootstrap.level), p=False)
            row |= columns_of("gain", summarize(gain, bootstrap.level))
            sd, least, most = spread([one.value for one in seeds.values()])
            row |= {"seed_sd": sd, "seed_min": least, "seed_max": most}
            row |= costs[method, task]
            rows.append(row | {"paper_score": figures.beside(model, method, task, runs)})
    return table_frame(rows, STEERING, bootstrap)


def steering_bootstrap(
    steered: Frames,
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """HONES against every other method, in the columns of schemas.tables.STEERING_BOOTSTRAP.

    `paper` is steering_bootstrap_delta_pp.csv, otherwise as `steering`.
    """
    means, sds = (
        PaperFigures(paper, "baseline", column, compare_with)
        for column in ("mean_delta_pp", "sd_pp")
    )
    rows = []
    for model in models_of(steered):
        runs = _runs(steered, scores, model, bootstrap)
        for baseline, task in _in_order(runs):
            if baseline == OURS or (OURS, task) not in runs:
                continue
            ours, other = (mean_of(list(runs[name, task].values())) for name in (OURS, baseline))
            found = summarize(combine(_points, other, ours), bootstrap.level)
            rows.append(
                {
                    "model": model,
                    "task": task,
                    "baseline": baseline,
                    **columns_of("delta", found),
                    "mean_delta": found.mean,
                    "paper_model": means.model(model),
                    "paper_mean_delta": means.beside(model, baseline, task, runs),
                    "paper_sd": sds.beside(model, baseline, task, runs),
                }
            )
    return table_frame(rows, STEERING_BOOTSTRAP, bootstrap)


def steering_side_effects(
    steered: Frames, others: Frames, scores: Mapping[str, Score], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Each task under each task's HONES scales, in schemas.tables.STEERING_SIDE_EFFECTS.

    `others` are SIDE_EFFECT_PREDICTIONS of each (model, scored task), whose rows belong to other
    tasks' scales; a task under its own is taken from `steered`.
    """
    rows = []
    for model in models_of(steered):
        for task in tasks_of(steered, model):
            what = f"side effects on {model}, {task}"
            own = dict(iter(steered[model, task].groupby("method")))
            foreign = frame_of(others, model, task, "side effects")
            systems = {
                BASE: own[BASE],
                task: own[OURS],
                **dict(iter(foreign.groupby("steered_task"))),
            }
            sampled = paired_scores(systems, scores[task], bootstrap, what)
            for source in ordered_tasks(name for name in sampled if name != BASE):
                gain = combine(_points, sampled[BASE], sampled[source])
                rows.append(
                    {
                        "model": model,
                        "steered_task": source,
                        "scored_task": task,
                        "n_instances": own[BASE]["instance_id"].nunique(),
                        "base_score": sampled[BASE].value,
                        "score": sampled[source].value,
                        **columns_of("gain", summarize(gain, bootstrap.level)),
                    }
                )
    return table_frame(rows, STEERING_SIDE_EFFECTS, bootstrap)


def _points(base: np.ndarray, system: np.ndarray) -> np.ndarray:
    return difference(base, system) * 100.0  # scores are in [0, 1], gains in percentage points


def _instances(steered: Frames, model: str) -> dict[str, int]:
    counts = {
        task: steered[model, task]["instance_id"].nunique() for task in tasks_of(steered, model)
    }
    return {**counts, AVERAGE: sum(counts.values())}


def _in_order(runs: Runs) -> list[tuple[str, str]]:
    methods = ordered((method for method, _ in runs), METHOD_ORDER)
    tasks = ordered_tasks(task for _, task in runs)
    return [(method, task) for method in methods for task in tasks if (method, task) in runs]


def _runs(steered: Frames, scores: Mapping[str, Score], model: str, bootstrap: Bootstrap) -> Runs:
    """The sampled scores of each seed, and their average over tasks for methods that have all."""
    runs: Runs = {}
    tasks = tasks_of(steered, model)
    for task in tasks:
        what = f"steered predictions of {model}, {task}"
        systems = dict(iter(steered[model, task].groupby(["method", "seed"])))
        if (BASE, 0) not in systems:
            raise KeyError(f"{what}: no method {BASE!r} to compare with")
        systems = {(BASE, 0): systems.pop((BASE, 0)), **systems}
        for (method, seed), score in paired_scores(systems, scores[task], bootstrap, what).items():
            runs.setdefault((method, task), {})[int(seed)] = score
    for method in dict.fromkeys(method for method, _ in runs):
        parts = [runs[method, task] for task in tasks if (method, task) in runs]
        if len(parts) == len(tasks) and all(part.keys() == parts[0].keys() for part in parts):
            runs[method, AVERAGE] = {
                seed: mean_of([part[seed] for part in parts]) for seed in parts[0]
            }
    return runs


def _beside(steered: Frames, search: Frames, model: str) -> dict[tuple[str, str], dict]:
    """(method, task) -> columns kl and development_score, means over seeds and, for the average,
    over tasks."""
    tasks = tasks_of(steered, model)
    found: dict[tuple[str, str], dict] = {}
    for task in tasks:
        chosen = frame_of(search, model, task, "steering search").query("chosen")
        kl = steered[model, task].groupby("method")["kl"].mean()
        development = chosen.groupby("method")["development_score"].mean()
        for method in kl.index:
            found[method, task] = {
                "kl": float(kl[method]),
                "development_score": float(development.get(method, float("nan"))),
            }
    for method in dict.fromkeys(method for method, _ in found):
        own = [found[method, task] for task in tasks if (method, task) in found]
        names = ("kl", "development_score")
        means = {name: sum(one[name] for one in own) / len(own) for name in names}
        found[method, AVERAGE] = means
    return found
