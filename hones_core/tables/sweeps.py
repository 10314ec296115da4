"""Drops along the sweeps over heads and neurons, with the head budget's elbow."""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from hones_core.schemas.sweeps import HEAD_BUDGET, NO_HEADS, RATIO_DROP
from hones_core.statistics import Sampled, Score, combine, relative_drop, summarize
from hones_core.tables.common import (
    Bootstrap,
    Frames,
    columns_of,
    frame_of,
    paired_scores,
    same_instances,
    single,
    table_frame,
)


def head_budget(
    predictions: Frames, scores: Mapping[str, Score], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Relative drops in percent, in the columns of schemas.sweeps.HEAD_BUDGET.

    `predictions` are HEAD_BUDGET_PREDICTIONS of each (model, task). The elbow is only reported:
    nothing uses it.
    """
    rows = []
    for (model, task), frame in predictions.items():
        sampled = paired_scores(
            dict(iter(frame.groupby("n_heads"))), scores[task], bootstrap, f"heads of {model}"
        )
        base = sampled[NO_HEADS]
        drops = {int(size): _drop(base, value, bootstrap) for size, value in sampled.items()}
        found = elbow({size: drop["drop"] for size, drop in drops.items()})
        for size, drop in drops.items():
            place = {"model": model, "task": task, "n_heads": size}
            place |= {"n_instances": frame["instance_id"].nunique()}
            rows.append(place | drop | {"elbow": size == found})
    return table_frame(rows, HEAD_BUDGET, bootstrap)


def ratio_drop(
    base: Frames, predictions: Frames, scores: Mapping[str, Score], bootstrap: Bootstrap
) -> pd.DataFrame:
    """Relative drops in percent, in the columns of schemas.sweeps.RATIO_DROP.

    `base` and `predictions` are BASE_PREDICTIONS and RATIO_PREDICTIONS of each (model, task).
    """
    rows = []
    for (model, task), frame in predictions.items():
        what = f"share of neurons of {model}, {task}"
        for (ranker, ratio), unmasked, masked, part in _pairs(
            frame_of(base, model, task, "base predictions"), frame, scores[task], bootstrap, what
        ):
            place = {"model": model, "task": task, "ranker": ranker, "ratio": ratio}
            place |= {"n_neurons": single(part["n_neurons"], what), "n_instances": len(part)}
            rows.append(place | _drop(unmasked, masked, bootstrap))
    return table_frame(rows, RATIO_DROP, bootstrap)


def elbow(drops: Mapping[int, float]) -> int | None:
    """The size whose drop lies farthest above the chord from the smallest to the largest size.

    None where no point lies above it, or where a drop is undefined.
    """
    sizes = sorted(drops)
    values = np.array([drops[size] for size in sizes])
    if len(sizes) < 3 or np.isnan(values).any():
        return None
    steps = np.array(sizes, dtype=float)
    share = (steps - steps[0]) / (steps[-1] - steps[0])
    above = values - (values[0] + share * (values[-1] - values[0]))
    best = int(above.argmax())
    return sizes[best] if above[best] > 0 else None


def _pairs(
    base: pd.DataFrame, frame: pd.DataFrame, score: Score, bootstrap: Bootstrap, what: str
) -> Iterator[tuple[tuple, Sampled, Sampled, pd.DataFrame]]:
    """(ranker, ratio), the base's score, the masked one's, and the rows of each setting."""
    parts = dict(iter(frame.groupby(["ranker", "ratio"])))
    first = next(iter(parts.values()))
    systems = {"base": same_instances(base, first), **parts}
    sampled = paired_scores(systems, score, bootstrap, what)
    for key, part in parts.items():
        yield key, sampled["base"], sampled[key], part


def _drop(base: Sampled, masked: Sampled, bootstrap: Bootstrap) -> dict[str, float]:
    drop = summarize(combine(relative_drop, base, masked), bootstrap.level)
    return columns_of("drop", drop)
