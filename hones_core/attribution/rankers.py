"""Every ranker by name: from stored measurements to one order over all neurons.

To add a ranker, write a file with a function `score` like those imported here, add what it reads to
`ranker_catalogue`, and register it in RANKERS.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from hones_core.attribution import (
    ap,
    ape,
    dla,
    gaussian,
    group_patching,
    hones,
    llm_knowledge,
    ma,
    mmneuron,
    no_head,
    qrnca,
    rand_head,
    random,
)
from hones_core.attribution.measurements import Measurements, Options, Scores
from hones_core.ranker_catalogue import CATALOGUE

__all__ = ["RANKERS", "Measurements", "Options", "Scores", "order", "rank_neurons"]

RANKERS: dict[str, Callable[[Measurements, int], Scores]] = {
    "hones": hones.score,
    "no_head": no_head.score,
    "rand_head": rand_head.score,
    "gaussian": gaussian.score,
    "ma": ma.score,
    "ap": ap.score,
    "ape": ape.score,
    "mmneuron": mmneuron.score,
    "random": random.score,
    "dla": dla.score,
    "group_patching": group_patching.score,
    "qrnca": qrnca.score,
    "llm_knowledge": llm_knowledge.score,
}


def rank_neurons(
    measured: Measurements,
    rankers: Sequence[str],
    seeds: Sequence[int] | Mapping[str, Sequence[int]],
) -> pd.DataFrame:
    """The NEURON_RANKING artifact: every ranker's order; random rankers once per seed.

    `seeds` are those of all random rankers, or of each by name. Raises ValueError for an unknown
    ranker, or for one whose measurements are missing.
    """
    frames = []
    for name in rankers:
        if name not in RANKERS:
            raise ValueError(f"unknown ranker {name!r}; known: {', '.join(RANKERS)}")
        of_ranker: Sequence[int] = [0]
        if CATALOGUE[name].seeded:
            of_ranker = seeds[name] if isinstance(seeds, Mapping) else seeds
        for seed in of_ranker:
            scores, ties = RANKERS[name](measured, seed)
            frames.append(order(scores, ties).assign(ranker=name, seed=seed))
    return pd.concat(frames, ignore_index=True)


def order(scores: np.ndarray, ties: np.ndarray) -> pd.DataFrame:
    """All neurons, highest score first; then by the tie-breaker, then by (layer, neuron).

    Raises FloatingPointError if a score or a tie-breaker is NaN, which has no place in an order.
    """
    if np.isnan(scores).any() or np.isnan(ties).any():
        raise FloatingPointError("some neurons' scores are NaN; use float32 as the model's dtype")
    layer, neuron = (grid.ravel() for grid in np.indices(scores.shape))
    place = np.lexsort((neuron, layer, -ties.ravel(), -scores.ravel()))
    return pd.DataFrame(
        {
            "rank": np.arange(len(place)),
            "layer": layer[place],
            "neuron": neuron[place],
            "score": scores.ravel()[place],
            "tie_break": ties.ravel()[place],
        }
    )
