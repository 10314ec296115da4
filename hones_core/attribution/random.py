"""RandNeuron: a uniform order (METHOD 6)."""

import numpy as np

from hones_core.attribution.hones import base_contributions
from hones_core.attribution.measurements import Measurements, Scores, without_ties


def score(measured: Measurements, seed: int) -> Scores:
    """Uniform numbers from the seed; [L, m]."""
    shape = base_contributions(measured.need("neuron_effects")).shape
    return without_ties(np.random.default_rng(seed).random(shape))
