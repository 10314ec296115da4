"""Group Patching: the effect of patching a contiguous group of neurons (METHOD 6)."""

import numpy as np

from hones_core.attribution.hones import base_contributions
from hones_core.attribution.measurements import Measurements, Scores


def score(measured: Measurements, seed: int) -> Scores:
    """Each neuron has its group's mean effect; ties, so those in a group, by |E[c]|; [L, m].

    Measured in `token_level.group_patching`.
    """
    ties = np.abs(base_contributions(measured.need("neuron_effects")))
    scores = np.zeros_like(ties)
    columns = ["layer", "first_neuron", "n_neurons"]
    means = measured.need("group_patching_effects").groupby(columns)["effect"].mean()
    for (layer, first, size), effect in means.items():
        scores[layer, first : first + size] = effect
    return scores, ties
