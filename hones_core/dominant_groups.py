"""The dominant salient group of each task (METHOD 8)."""

import numpy as np
import pandas as pd

from hones_core.neuron_sets import GROUP_ITSELF
from hones_core.statistics import relative_drop
from hones_core.tasks import get_task


def split_score(task: str, predictions: pd.DataFrame) -> float:
    """The task's score of some predictions, from their `statistics` column."""
    totals = np.sum(np.stack(predictions["statistics"].to_list()), axis=0)
    return float(get_task(task).score(totals, len(predictions)))


def select_dominant_groups(
    base: dict[str, pd.DataFrame], masked: dict[str, pd.DataFrame], split: str
) -> pd.DataFrame:
    """The DOMINANT_GROUPS artifact, chosen on `split`.

    base, masked: BASE_PREDICTIONS and GROUP_PREDICTIONS per task. Among the groups shared by at
    least two tasks the one with the largest relative drop is dominant, ties by name; a task
    without a shared group gets an empty name and NaN.
    """
    rows = []
    for task, predictions in masked.items():
        here = predictions[(predictions["split"] == split) & (predictions["trial"] == GROUP_ITSELF)]
        shared = here[here["group"].str.contains("+", regex=False)]
        unchanged = split_score(task, base[task][base[task]["split"] == split])
        best = ("", 0, float("nan"))
        for group, rows_of_group in sorted(shared.groupby("group"), key=lambda item: item[0]):
            drop = float(relative_drop(unchanged, split_score(task, rows_of_group)))
            if not best[0] or drop > best[2]:
                best = (group, int(rows_of_group["n_neurons"].iloc[0]), drop)
        rows.append((task, *best))
    return pd.DataFrame(rows, columns=["task", "group", "n_neurons", "relative_drop"])
