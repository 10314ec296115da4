"""Steering on other data sets (paper's Table 4): over the divisions of a set, with intervals."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hones_core.schemas.tables import OOD_STEERING
from hones_core.statistics import (
    Sampled,
    Score,
    check_aligned,
    combine,
    difference,
    mean_of,
    resampled_totals,
    spread,
    summarize,
)
from hones_core.tables.common import (
    AVERAGE,
    Bootstrap,
    Frames,
    PaperFigures,
    columns_of,
    statistics_matrix,
    table_frame,
)

METHODS = ("base", "random_zero_shot", "hones_zero_shot", "random_tuned", "hones_tuned")
BASE = "base"
NAMES = {  # as the paper's file has them
    "Base": "base",
    "HONES zero-shot": "hones_zero_shot",
    "RandNeuron": "random_zero_shot",
    "HONES tuned": "hones_tuned",
}
WHOLE_SET = -1


def ood_steering(
    predictions: Frames,
    splits: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Scores in [0, 1] and gains in percentage points, the columns of OOD_STEERING.

    `predictions` are OOD_STEERED_PREDICTIONS of each (model, set); `splits` OOD_SPLITS and `scores`
    the score of each set; `paper` is ood_steering_score.csv. Every division's scored part is scored
    under every method, so that gains are paired. The divisions overlap, so that their sd says
    little of the instances: the interval is that of the gain averaged over the divisions, with the
    set's instances drawn anew for all of them at once. The average over the sets stands beside the
    paper's only if all four are there.
    """
    if paper is not None:
        paper = paper.rename(columns={"dataset": "task"})
    means, sds = (
        PaperFigures(paper, "method", column, compare_with, NAMES)
        for column in ("score", "std_over_10_splits")
    )
    rows = []
    for model in dict.fromkeys(model for model, _ in predictions):
        sets = [ood_set for name, ood_set in predictions if name == model]
        found = {
            ood_set: _by_division(
                predictions[model, ood_set], splits[ood_set], scores[ood_set], bootstrap
            )
            for ood_set in sets
        }
        if len({len(scored[BASE]) for scored in found.values()}) == 1:
            found[AVERAGE] = {
                method: [
                    mean_of(one)
                    for one in zip(*(found[ood_set][method] for ood_set in sets), strict=True)
                ]
                for method in METHODS
            }
        for ood_set, scored in found.items():
            whole = ood_set != AVERAGE or set(sets) == set(_known(paper))
            for method in METHODS:
                values, base = (_values(scored[name]) for name in (method, BASE))
                gains = (values - base) * 100
                gain = combine(_points, mean_of(scored[BASE]), mean_of(scored[method]))
                place = (model, method, ood_set)
                rows.append(
                    {
                        "model": model,
                        "method": method,
                        "ood_set": ood_set,
                        "n_divisions": len(gains),
                        "score": values.mean(),
                        "score_sd": spread(values)[0],
                        **columns_of("gain", summarize(gain, bootstrap.level)),
                        "gain_sd": spread(gains)[0],
                        "n_gains": int((gains > 1e-9).sum()),
                        "paper_model": means.model(model),
                        "paper_score": means.figure(*place) if whole else float("nan"),
                        "paper_sd": sds.figure(*place) if whole else float("nan"),
                    }
                )
    return table_frame(rows, OOD_STEERING, bootstrap)


def _points(base: np.ndarray, method: np.ndarray) -> np.ndarray:
    return difference(base, method) * 100.0  # scores are in [0, 1], gains in percentage points


def _values(scored: list[Sampled]) -> np.ndarray:
    return np.array([one.value for one in scored])


def _known(paper: pd.DataFrame | None) -> list[str]:
    return [] if paper is None else [name for name in paper["task"].unique() if name != AVERAGE]


def _by_division(
    predictions: pd.DataFrame, splits: pd.DataFrame, score: Score, bootstrap: Bootstrap
) -> dict[str, list[Sampled]]:
    """{method: its score on the scored part of each division}, means over the seeds.

    All divisions and methods share the resamples, which are of the whole set.
    """
    instances = sorted(splits["instance_id"].unique())
    counts = bootstrap.counts(instances)
    found: dict[str, list[Sampled]] = {method: [] for method in METHODS}
    for repeat in sorted(splits["repeat"].unique()):
        scored = splits[(splits["repeat"] == repeat) & (splits["part"] == "test")]
        ids = sorted(scored["instance_id"])
        rows = predictions[
            predictions["repeat"].isin([WHOLE_SET, repeat]) & predictions["instance_id"].isin(ids)
        ]
        systems = {
            (method, seed): _matrix(own, ids, f"{method}, division {repeat}")
            for (method, seed), own in rows.groupby(["method", "seed"])
        }
        drawn = counts[:, np.searchsorted(instances, ids)]
        sampled = dict(zip(systems, _sampled(list(systems.values()), drawn, score), strict=True))
        for method in METHODS:
            seeds = [one for (name, _), one in sampled.items() if name == method]
            if not seeds:
                raise KeyError(f"no predictions of {method} in division {repeat}")
            found[method].append(mean_of(seeds))
    return found


def _matrix(rows: pd.DataFrame, ids: list[str], what: str) -> np.ndarray:
    rows = rows.sort_values("instance_id")
    check_aligned(ids, rows["instance_id"].tolist(), what)
    return statistics_matrix(rows)


def _sampled(systems: list[np.ndarray], counts: np.ndarray, score: Score) -> list[Sampled]:
    """Each system's score on a part of a set, and on what resamples of the set hold of the part.

    `systems` are statistics [N, S] of the part, `counts` [B, N] how often a resample holds each
    instance: its size differs from resample to resample. NaN where it holds none.
    """
    stacked = np.stack(systems, axis=1)  # [N, K, S]
    observed = score(stacked.sum(axis=0), len(stacked))
    totals = resampled_totals(counts, stacked.reshape(len(stacked), -1))
    totals = totals.reshape(len(counts), *stacked.shape[1:])
    sizes = counts.sum(axis=1)
    values = np.full(totals.shape[:2], np.nan)  # [B, K]
    for size in np.unique(sizes[sizes > 0]):
        values[sizes == size] = score(totals[sizes == size], int(size))
    return [Sampled(float(observed[k]), values[:, k]) for k in range(len(systems))]
