"""HONES' neuron scores from the stored effects of heads on neurons (paper 4.2, METHOD 5)."""

import numpy as np
import pandas as pd

from hones_core.attribution.measurements import Measurements, Scores, grid
from hones_core.schemas.heads import BASE


def score(measured: Measurements, seed: int) -> Scores:
    """Head-conditioned write-in drops, weighted by the heads' scores; ties by |E[c]|; [L, m]."""
    effects = measured.need("neuron_effects")
    scores = score_neurons(effects, selected_weights(measured.need("head_ranking")))
    return scores, np.abs(base_contributions(effects))


def selected_weights(head_ranking: pd.DataFrame) -> dict[tuple[int, int], float]:
    """{(layer, head): S_t(h)} of the selected heads."""
    selected = head_ranking[head_ranking["selected"]]
    return {(row.layer, row.head): row.score for row in selected.itertuples(index=False)}


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
    return grid(effects[effects["head_layer"] == BASE], "contribution")
