"""How much the rankers agree: common top neurons, and the correlation of whole orders."""

from itertools import combinations

import numpy as np
import pandas as pd

from hones_core.neuron_sets import budget


def rank_agreement(ranking: pd.DataFrame, ratio: float) -> pd.DataFrame:
    """Every pair of rankers of a NEURON_RANKING artifact; random ones by their first seed.

    Columns ranker, other, overlap (share of the top `ratio` in common; of two random orders about
    `ratio` itself) and spearman (correlation of the ranks of all neurons). Each pair is there once,
    in the order in which the rankers come.
    """
    seeds = ranking.groupby("ranker")["seed"].transform("min")
    first = ranking[ranking["seed"] == seeds].sort_values(["layer", "neuron"])
    ranks = {name: rows["rank"].to_numpy() for name, rows in first.groupby("ranker", sort=False)}
    names = list(ranking["ranker"].unique())
    size = budget(len(next(iter(ranks.values()))), ratio)
    rows = []
    for ranker, other in combinations(names, 2):
        one, two = ranks[ranker], ranks[other]
        common = int(((one < size) & (two < size)).sum())
        rows.append((ranker, other, common / size, _correlation(one, two)))
    return pd.DataFrame(rows, columns=["ranker", "other", "overlap", "spearman"])


def _correlation(one: np.ndarray, two: np.ndarray) -> float:
    """Spearman's for orders without ties, which ranks from 0 to n - 1 are."""
    difference = one.astype(np.float64) - two
    n = len(one)
    return float(1 - 6 * (difference**2).sum() / (n * (n**2 - 1)))
