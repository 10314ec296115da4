"""AP: how often a neuron is active (METHOD 6)."""

from hones_core.attribution.measurements import Measurements, Scores, grid, without_ties


def score(measured: Measurements, seed: int) -> Scores:
    """mean_x 1[z̄_i > τ], the share of samples above the threshold; [L, m]."""
    return without_ties(grid(measured.need("activations"), "active_fraction"))
