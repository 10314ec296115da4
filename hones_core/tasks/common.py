"""What the four tasks share: choosing a prompt by model family, and the mean as aggregate."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from hones_core.family_catalogue import FAMILIES

WORDS = ("llava", "qwen2_5_vl")  # the families of which METHOD 2 has prompts


def template_for(templates: Mapping[str, str], family: str) -> str:
    """Return the instruction template of a model family, by the family in whose words it is asked.

    Raises ValueError if the family is unknown.
    """
    if family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"unknown model family {family!r}; known are {known}")
    return templates[FAMILIES[family].words]


def refuse_candidate(task: str, candidate: str | None) -> None:
    """Raise ValueError if a candidate caption is passed to a task that ranks nothing."""
    if candidate is not None:
        raise ValueError(f"task {task} takes no candidate, got {candidate!r}")


def require_instances(n: int) -> None:
    """Raise ValueError unless there is at least one instance to score."""
    if n < 1:
        raise ValueError(f"a score needs at least one instance, got n={n}")


def mean_score(total_statistics: ArrayLike, n: int) -> float | np.ndarray:
    """Mean of per-instance scores, from their sum in column 0.

    `total_statistics` has shape (1,) or (resamples, 1); the result is a float or (resamples,),
    in [0, 1]. Raises ValueError for n < 1.
    """
    require_instances(n)
    # Summing in another order than the scores were made in may pass 1 by a rounding error.
    return as_scalar(np.clip(column_view(total_statistics, 1)[..., 0] / n, 0.0, 1.0))


def column_view(total_statistics: ArrayLike, width: int) -> np.ndarray:
    """The statistics as float64 with `width` columns; ValueError if there are others."""
    totals = np.asarray(total_statistics, dtype=np.float64)
    if totals.ndim == 0 or totals.shape[-1] != width:
        raise ValueError(f"expected {width} statistics per row, got shape {totals.shape}")
    return totals


def as_scalar(values: np.ndarray) -> float | np.ndarray:
    """A Python float if there is one value and no axis, else the array."""
    return float(values) if np.ndim(values) == 0 else values


def require_references(references: Sequence[str]) -> None:
    """Raise ValueError if there is nothing to compare a prediction with."""
    if isinstance(references, str):
        raise ValueError(f"references must be a list of strings, not the string {references!r}")
    if not references:
        raise ValueError("at least one reference is needed")
