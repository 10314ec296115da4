"""QRNCA: query-relevant neurons by integrated gradients (METHOD 6).

Chen et al. (2024), "Identifying Query-Relevant Neurons in Large Language Models for Long-Form
Texts": the neurons that many queries attribute to are common, not relevant.
"""

import numpy as np

from hones_core.attribution.measurements import Measurements, Scores, grid

COMMON = -1.0  # score of the neurons that are dropped, below that of those that back-fill


def score(measured: Measurements, seed: int) -> Scores:
    """log(Q / (occ + 1)) · E[a 1{a ≥ threshold}]; [L, m]. Measured in `token_level.qrnca`.

    Neurons that pass no query's threshold have score 0 and back-fill any budget, by their raw score
    E[a]; those in more than `max_query_share` of the queries have score -1 and come last.
    """
    frame = measured.need("qrnca_scores")
    n_queries = int(frame["n_samples"].iloc[0])
    occurrences = grid(frame, "occurrences")
    relevance = grid(frame, "attribution_above") * np.log(n_queries / (occurrences + 1))
    common = occurrences > measured.options.max_query_share * n_queries
    scores = np.where(common, COMMON, np.where(occurrences > 0, relevance, 0.0))
    return scores, grid(frame, "attribution")
