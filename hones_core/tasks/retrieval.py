"""Ranking candidate captions of an image: prompt, target, and NDCG@5 (METHOD 2 and 3)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hones_core.tasks import common
from hones_core.tasks.instances import Instance

KIND = "ranking"
TARGET_KIND = "fixed"
STATISTICS = ("ndcg",)
CUTOFF = 5
# A candidate's score is the margin logit(POSITIVE_WORD) - logit(NEGATIVE_WORD).
POSITIVE_WORD = "Yes"
NEGATIVE_WORD = "No"
TIE_RULES = ("pessimistic", "optimistic", "stable", "average")

_TEMPLATES = dict.fromkeys(
    common.WORDS,
    "Candidate: {candidate} Does the candidate correctly describe the image? "
    "Answer exactly Yes or No.",
)


def instruction(family: str, instance: Instance, candidate: str | None = None) -> str:
    """The prompt text of METHOD 2 for one candidate, without the chat template.

    Raises ValueError for an unknown family or a missing candidate.
    """
    if candidate is None:
        raise ValueError(f"instance {instance.instance_id!r}: retrieval asks about one candidate")
    return common.template_for(_TEMPLATES, family).format(candidate=candidate)


def targets(instance: Instance) -> list[str]:
    """The word for a fitting candidate; only the positive defines a target direction (METHOD 5)."""
    return [POSITIVE_WORD]


def utility(scores: Sequence[float], instance: Instance) -> float:
    """NDCG@5 of one query, in [0, 1], with pessimistic ties.

    Raises ValueError if there is not one score per candidate, or a score is NaN.
    """
    if len(scores) != len(instance.candidates):
        raise ValueError(
            f"instance {instance.instance_id!r}: {len(scores)} scores for "
            f"{len(instance.candidates)} candidates"
        )
    return ndcg(scores, instance.positive_index, CUTOFF)


def statistics(scores: Sequence[float], instance: Instance) -> list[float]:
    """What sums over instances: NDCG@5."""
    return [utility(scores, instance)]


def score(total_statistics: ArrayLike, n: int) -> float | np.ndarray:
    """Mean NDCG@5 in [0, 1] from summed statistics, one per row (see `common.mean_score`)."""
    return common.mean_score(total_statistics, n)


def ndcg(
    scores: Sequence[float], positive_index: int, k: int = CUTOFF, ties: str = "pessimistic"
) -> float:
    """NDCG@k with one relevant candidate: 1/log2(rank + 1) if rank <= k, else 0 (METHOD 3).

    `ties` places the positive among equal scores: "pessimistic" last, "optimistic" first,
    "stable" in the order of the list, "average" the mean over all their orders (scikit-learn's
    default). Infinite scores are ordered like any other. Raises ValueError for a NaN, a
    positive_index outside the list, k < 1, or an unknown rule.
    """
    values = np.asarray(scores, dtype=np.float64)
    _check(values, positive_index, k, ties)
    positive = values[positive_index]
    above = int((values > positive).sum())
    tied = int((values == positive).sum()) - 1
    if ties == "average":
        ranks = range(above + 1, above + tied + 2)
        return sum(_discount(rank, k) for rank in ranks) / len(ranks)
    tied_before = {
        "pessimistic": tied,
        "optimistic": 0,
        "stable": int((values[:positive_index] == positive).sum()),
    }[ties]
    return _discount(above + tied_before + 1, k)


def _discount(rank: int, k: int) -> float:
    return 1.0 / math.log2(rank + 1) if rank <= k else 0.0


def _check(values: np.ndarray, positive_index: int, k: int, ties: str) -> None:
    if values.ndim != 1 or not 0 <= positive_index < len(values):
        raise ValueError(f"positive_index {positive_index} does not fit scores of {values.shape}")
    if np.isnan(values).any():
        first = int(np.isnan(values).argmax())
        raise ValueError(f"the score of candidate {first} is NaN, so no ranking exists")
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    if ties not in TIE_RULES:
        raise ValueError(f"unknown tie rule {ties!r}; known are {', '.join(TIE_RULES)}")
