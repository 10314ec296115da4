"""LLM-Knowledge: how much a neuron alone raises the answer's log-probability (METHOD 6).

Yu and Ananiadou (2024), "Neuron-Level Knowledge Attribution in Large Language Models".
"""

from hones_core.attribution.measurements import Measurements, Scores, grid, without_ties


def score(measured: Measurements, seed: int) -> Scores:
    """E[log p(y_1 | r_l + z_i W_{:,i}) - log p(y_1 | r_l)]; [L, m].

    Measured in `token_level.llm_knowledge`.
    """
    return without_ties(grid(measured.need("llm_knowledge_scores"), "increase"))
