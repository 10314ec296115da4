"""MA: the mean activation of a neuron (METHOD 6)."""

from hones_core.attribution.measurements import Measurements, Scores, grid, without_ties


def score(measured: Measurements, seed: int) -> Scores:
    """mean_x z̄_i, or with the option `absolute_mean` mean_x |z̄_i|; [L, m]."""
    column = "mean_absolute" if measured.options.absolute_mean else "mean_activation"
    return without_ties(grid(measured.need("activations"), column))
