"""Every ranker by name: from stored measurements to one order over all neurons.

To add a ranker, write a function with the signature of those below and register it in RANKERS.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hones_core.attribution.hones import base_contributions, score_neurons


@dataclass(frozen=True)
class Measurements:
    """What the rankers may use: artifacts of one model and task."""

    head_ranking: pd.DataFrame
    neuron_effects: pd.DataFrame
    activations: pd.DataFrame


Scores = tuple[np.ndarray, np.ndarray]  # score and tie-breaker, both [L, m]; larger comes first


def hones(measured: Measurements, seed: int) -> Scores:
    """Head-conditioned write-in drops, weighted by the heads' scores; ties by |E[c]|."""
    selected = measured.head_ranking[measured.head_ranking["selected"]]
    weights = {(row.layer, row.head): row.score for row in selected.itertuples(index=False)}
    scores = score_neurons(measured.neuron_effects, weights)
    return scores, np.abs(base_contributions(measured.neuron_effects))


def mean_activation(measured: Measurements, seed: int) -> Scores:
    """MA: the mean activation."""
    return _grid(measured.activations, "mean_activation")


def activation_probability(measured: Measurements, seed: int) -> Scores:
    """AP: the share of samples in which the neuron is above the threshold."""
    return _grid(measured.activations, "active_fraction")


def activation_entropy(measured: Measurements, seed: int) -> Scores:
    """APE: the Bernoulli entropy of AP, highest first; p and 1 - p tie."""
    probability, ties = _grid(measured.activations, "active_fraction")
    return np.round(bernoulli_entropy(probability), 12), ties


def random(measured: Measurements, seed: int) -> Scores:
    """RandNeuron: a uniform order from the seed."""
    shape = _grid(measured.activations, "mean_activation")[0].shape
    return np.random.default_rng(seed).random(shape), np.zeros(shape)


RANKERS: dict[str, Callable[[Measurements, int], Scores]] = {
    "hones": hones,
    "ma": mean_activation,
    "ap": activation_probability,
    "ape": activation_entropy,
    "random": random,
}

SEEDED = frozenset({"random"})


def rank_neurons(measured: Measurements, rankers: list[str], seeds: list[int]) -> pd.DataFrame:
    """The NEURON_RANKING artifact: every ranker's order; random rankers once per seed."""
    frames = []
    for name in rankers:
        if name not in RANKERS:
            raise ValueError(f"unknown ranker {name!r}; known: {', '.join(RANKERS)}")
        for seed in seeds if name in SEEDED else [0]:
            scores, ties = RANKERS[name](measured, seed)
            frames.append(order(scores, ties).assign(ranker=name, seed=seed))
    return pd.concat(frames, ignore_index=True)


def order(scores: np.ndarray, ties: np.ndarray) -> pd.DataFrame:
    """All neurons, highest score first; then by the tie-breaker, then by (layer, neuron)."""
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


def bernoulli_entropy(probability: np.ndarray) -> np.ndarray:
    """Entropy in nat of a Bernoulli variable; 0 at 0 and 1."""
    p = np.clip(probability, 0.0, 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -(p * np.log(p) + (1 - p) * np.log(1 - p))
    return np.where((p == 0) | (p == 1), 0.0, entropy)


def _grid(frame: pd.DataFrame, column: str) -> Scores:
    shape = (frame["layer"].max() + 1, frame["neuron"].max() + 1)
    grid = np.zeros(shape)
    grid[frame["layer"], frame["neuron"]] = frame[column]
    return grid, np.zeros(shape)
