"""What the rankers read: stored measurements of one model and task, and the options of ranking."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

Scores = tuple[np.ndarray, np.ndarray]  # score and tie-breaker, both [L, m]; larger comes first


@dataclass(frozen=True)
class Options:
    """Choices of METHOD 6 that need no new measurement.

    absolute_mean: MA takes |z̄|; max_query_share: QRNCA drops neurons in more of the queries.
    """

    absolute_mean: bool = False
    max_query_share: float = 0.3


@dataclass(frozen=True)
class Measurements:
    """Artifacts of one model and task; those that no asked ranker reads may be None.

    `task_activations` holds the ACTIVATION_STATISTICS of every task of the run, `task` is the one
    that is ranked: only `mmneuron` compares tasks.
    """

    head_ranking: pd.DataFrame | None = None
    neuron_effects: pd.DataFrame | None = None
    activations: pd.DataFrame | None = None
    random_head_effects: pd.DataFrame | None = None
    gaussian_effects: pd.DataFrame | None = None
    dla_scores: pd.DataFrame | None = None
    group_patching_effects: pd.DataFrame | None = None
    qrnca_scores: pd.DataFrame | None = None
    llm_knowledge_scores: pd.DataFrame | None = None
    task: str = ""
    task_activations: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    options: Options = field(default_factory=Options)

    def need(self, name: str) -> pd.DataFrame:
        """The artifact of that name; ValueError if it was not measured."""
        frame = getattr(self, name)
        if frame is None:
            raise ValueError(f"a ranker needs {name}, which was not measured")
        return frame


def grid(frame: pd.DataFrame, column: str) -> np.ndarray:
    """One value for each neuron, [L, m], from rows with `layer` and `neuron`."""
    values = np.zeros((frame["layer"].max() + 1, frame["neuron"].max() + 1))
    values[frame["layer"], frame["neuron"]] = frame[column]
    return values


def without_ties(scores: np.ndarray) -> Scores:
    """Scores whose ties fall to (layer, neuron) alone."""
    return scores, np.zeros_like(scores)
