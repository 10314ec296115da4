"""DLA: what a neuron adds directly to the answer's logit (METHOD 6)."""

from hones_core.attribution.measurements import Measurements, Scores, grid, without_ties


def score(measured: Measurements, seed: int) -> Scores:
    """E[z_i ⟨γ ⊙ W_{:,i} / rms, U[y_1]⟩]; [L, m]. Measured in `token_level.dla`."""
    return without_ties(grid(measured.need("dla_scores"), "attribution"))
