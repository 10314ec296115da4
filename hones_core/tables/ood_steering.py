"""Steering on other data sets (paper's Table 4): mean and sd over the divisions of a set."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hones_core.schemas.tables import OOD_STEERING
from hones_core.statistics import Score, check_aligned, spread
from hones_core.tables.common import AVERAGE, DECIMALS, Frames, PaperFigures, statistics_matrix

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
) -> pd.DataFrame:
    """Scores in [0, 1] and gains in percentage points, the columns of OOD_STEERING.

    `predictions` are OOD_STEERED_PREDICTIONS of each (model, set); `splits` OOD_SPLITS and `scores`
    the score of each set; `paper` is ood_steering_score.csv. Every division's scored part is scored
    under every method, so that gains are paired. The average over the sets stands beside the
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
            ood_set: _by_division(predictions[model, ood_set], splits[ood_set], scores[ood_set])
            for ood_set in sets
        }
        if len({len(scored[BASE]) for scored in found.values()}) == 1:
            found[AVERAGE] = {
                method: np.mean([found[ood_set][method] for ood_set in sets], axis=0)
                for method in METHODS
            }
        for ood_set, scored in found.items():
            whole = ood_set != AVERAGE or set(sets) == set(_known(paper))
            for method in METHODS:
                gains = (scored[method] - scored[BASE]) * 100
                place = (model, method, ood_set)
                rows.append(
                    {
                        "model": model,
                        "method": method,
                        "ood_set": ood_set,
                        "n_divisions": len(gains),
                        "score": scored[method].mean(),
                        "score_sd": spread(scored[method])[0],
                        "gain": gains.mean(),
                        "gain_sd": spread(gains)[0],
                        "n_gains": int((gains > 1e-9).sum()),
                        "paper_model": means.model(model),
                        "paper_score": means.figure(*place) if whole else float("nan"),
                        "paper_sd": sds.figure(*place) if whole else float("nan"),
                    }
                )
    return pd.DataFrame(rows)[OOD_STEERING.names].round(DECIMALS)


def _known(paper: pd.DataFrame | None) -> list[str]:
    return [] if paper is None else [name for name in paper["task"].unique() if name != AVERAGE]


def _by_division(
    predictions: pd.DataFrame, splits: pd.DataFrame, score: Score
) -> dict[str, np.ndarray]:
    """{method: its score on the scored part of each division}, means over the seeds."""
    divisions = sorted(splits["repeat"].unique())
    found: dict[str, np.ndarray] = {}
    for method in METHODS:
        own = predictions[predictions["method"] == method]
        found[method] = np.array(
            [_score(own, splits, int(repeat), score, method) for repeat in divisions]
        )
    return found


def _score(
    rows: pd.DataFrame, splits: pd.DataFrame, repeat: int, score: Score, method: str
) -> float:
    part = splits[(splits["repeat"] == repeat) & (splits["part"] == "test")]
    ids = sorted(part["instance_id"])
    rows = rows[rows["repeat"].isin([WHOLE_SET, repeat]) & rows["instance_id"].isin(ids)]
    values = []
    for _, own in rows.groupby("seed"):
        own = own.sort_values("instance_id")
        check_aligned(ids, own["instance_id"].tolist(), f"{method}, division {repeat}")
        values.append(float(score(statistics_matrix(own).sum(axis=0), len(own))))
    if not values:
        raise KeyError(f"no predictions of {method} in division {repeat}")
    return float(np.mean(values))
