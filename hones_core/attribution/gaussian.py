"""HONES-Gaussian: HONES with noise in place of mean replacement at the top heads (METHOD 6)."""

import numpy as np

from hones_core.attribution.hones import base_contributions, score_neurons, selected_weights
from hones_core.attribution.measurements import Measurements, Scores


def score(measured: Measurements, seed: int) -> Scores:
    """As HONES, with E[Δc^(h)] of the noisy heads; the weights stay S_t(h); [L, m]."""
    weights = selected_weights(measured.need("head_ranking"))
    scores = score_neurons(measured.need("gaussian_effects"), weights)
    return scores, np.abs(base_contributions(measured.need("neuron_effects")))
