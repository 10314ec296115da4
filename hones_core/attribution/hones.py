"""HONES' neuron scores from the stored effects of heads on neurons (paper 4.2, METHOD 5)."""

import numpy as np
import pandas as pd

from hones_core.schemas.heads import BASE


def score_neurons(effects: pd.DataFrame, head_weights: dict[tuple[int, int], float]) -> np.ndarray:
    """I_{l,i} = Σ_h w_h E[Δc^(h)] / Σ_h w_h, with w_h = max(S_t(h), 0); [L, m].

    Raises ValueError when no head has a positive score.
    """
    positive = {head: weight for head, weight in head_weights.items() if weight > 0}
    if not positive:
        raise ValueError(
            "none of the selected heads has a positive score: disrupting them does not hurt the "
            "task, so there is nothing to condition on. Use more discovery samples, or another "
            "heads.utility"
        )
    total = np.zeros_like(base_contributions(effects))
    for (layer, head), weight in positive.items():
        rows = effects[(effects["head_layer"] == layer) & (effects["head"] == head)]
        if rows.empty:
            raise ValueError(f"no neuron effects were measured for head {layer}.{head}")
        total[rows["layer"], rows["neuron"]] += weight * rows["drop"].to_numpy()
    return total / sum(positive.values())


def base_contributions(effects: pd.DataFrame) -> np.ndarray:
    """E[c] of the unchanged model, [L, m]: the score of HONES-NoHead and the tie-breaker."""
    base = effects[effects["head_layer"] == BASE]
    grid = np.zeros((base["layer"].max() + 1, base["neuron"].max() + 1))
    grid[base["layer"], base["neuron"]] = base["contribution"]
    return grid
