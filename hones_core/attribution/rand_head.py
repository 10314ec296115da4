"""HONES-RandHead: HONES with random heads in place of the top ones (METHOD 6)."""

import numpy as np
import pandas as pd

from hones_core.attribution.hones import base_contributions, score_neurons
from hones_core.attribution.measurements import Measurements, Scores
from hones_core.benchmark.seeding import seeded_order


def random_heads(head_ranking: pd.DataFrame, seed: int) -> list[tuple[int, int]]:
    """As many heads (layer, head) as are selected, drawn uniformly from those that are not.

    Raises ValueError if fewer than that are left.
    """
    size = int(head_ranking["selected"].sum())
    rest = head_ranking[~head_ranking["selected"]].sort_values(["layer", "head"])
    if len(rest) < size:
        raise ValueError(
            f"rand_head draws {size} heads outside the top {size}, but only {len(rest)} are left; "
            "lower the model's top_heads, or take rand_head out of neurons.rankers"
        )
    heads = list(zip(rest["layer"].tolist(), rest["head"].tolist(), strict=True))
    drawn = seeded_order(range(len(heads)), seed, "random heads")[:size]
    return sorted(heads[place] for place in drawn)


def score(measured: Measurements, seed: int) -> Scores:
    """Mean over the seed's heads of E[Δc^(h)], all of one weight; ties by |E[c]|; [L, m]."""
    heads = random_heads(measured.need("head_ranking"), seed)
    scores = score_neurons(measured.need("random_head_effects"), dict.fromkeys(heads, 1.0))
    return scores, np.abs(base_contributions(measured.need("neuron_effects")))
