"""APE: the entropy of a neuron's being active or not (METHOD 6)."""

import numpy as np

from hones_core.attribution.measurements import Measurements, Scores, grid, without_ties

DECIMALS = 12  # p and 1 - p have the same entropy up to the last bits


def score(measured: Measurements, seed: int) -> Scores:
    """The Bernoulli entropy of AP in nat, highest first; [L, m]. Shares p and 1 - p tie."""
    probability = grid(measured.need("activations"), "active_fraction")
    return without_ties(np.round(bernoulli_entropy(probability), DECIMALS))


def bernoulli_entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy in nat of a Bernoulli variable; 0 at 0 and 1."""
    p = np.clip(probability, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return np.where((p == 0) | (p == 1), 0.0, entropy)
