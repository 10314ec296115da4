"""Stability of the rankers' top sets, over the draws."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hones_core.schemas.agreement import STABILITY
from hones_core.statistics import spread


def stability(frames: Mapping[tuple[str, str], pd.DataFrame], ratio: float) -> pd.DataFrame:
    """Mean and spread over draws, in the columns of schemas.agreement.STABILITY.

    `frames` are RANKER_STABILITY of each (model, task); `ratio` is the share of all neurons in a
    top set, and so what two random sets have in common.
    """
    rows = []
    for (model, task), frame in frames.items():
        for ranker, draws in frame.groupby("ranker", sort=False):
            row = {"model": model, "task": task, "ranker": ranker, "chance": ratio}
            row |= {"n_neurons": int(draws["n_neurons"].iloc[0]), "n_draws": len(draws)}
            for name in ("between_halves", "with_all"):
                values = draws[name].to_numpy()
                row |= {name: float(np.mean(values)), f"{name}_sd": spread(values)[0]}
            rows.append(row)
    return pd.DataFrame(rows, columns=STABILITY.names).round(9)
