"""HONES-NoHead: write-in contributions that no head conditions (METHOD 6)."""

from hones_core.attribution.hones import base_contributions
from hones_core.attribution.measurements import Measurements, Scores, without_ties


def score(measured: Measurements, seed: int) -> Scores:
    """E[c] of the unchanged model; [L, m]."""
    return without_ties(base_contributions(measured.need("neuron_effects")))
