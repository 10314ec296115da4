"""Describing an image: prompt, targets, and BLEU-4 of the COCO evaluation (METHOD 2 and 3)."""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from hones_core.tasks import common
from hones_core.tasks.instances import Instance
from hones_core.tasks.ptb import tokenise

KIND = "generation"
TARGET_KIND = "open_ended"
STATISTICS = (
    *(f"matches_{order}" for order in (1, 2, 3, 4)),
    *(f"totals_{order}" for order in (1, 2, 3, 4)),
    "hypothesis_length",
    "closest_reference_length",
)

_INSTRUCTION = "Describe the image in one sentence."
_TEMPLATES = dict.fromkeys(common.WORDS, _INSTRUCTION)
_ORDERS = 4
# The COCO evaluation's guards against a division by zero (METHOD 3).
_TINY = 1e-15
_SMALL = 1e-9


def instruction(family: str, instance: Instance, candidate: str | None = None) -> str:
    """The prompt text of METHOD 2 without the chat template; ValueError for an unknown family."""
    common.refuse_candidate("caption", candidate)
    return common.template_for(_TEMPLATES, family)


def targets(instance: Instance) -> list[str]:
    """The reference captions (METHOD 5)."""
    return list(instance.references)


def utility(prediction: str, instance: Instance) -> float:
    """Sentence BLEU-4 of one caption, in [0, 1]."""
    return sentence_bleu4(prediction, instance.references)


def statistics(prediction: str, instance: Instance) -> list[float]:
    """What sums over instances, in tokens and n-grams, in the order of `STATISTICS`."""
    return bleu_statistics(prediction, instance.references)


def score(total_statistics: ArrayLike, n: int) -> float | np.ndarray:
    """Corpus BLEU-4 in [0, 1] from summed statistics.

    `total_statistics` has shape (10,) or (resamples, 10); the result is a float or (resamples,).
    Raises ValueError for n < 1.
    """
    common.require_instances(n)
    return common.as_scalar(_bleu4(common.column_view(total_statistics, len(STATISTICS))))


def sentence_bleu4(hypothesis: str, references: Sequence[str]) -> float:
    """BLEU-4 of one raw caption, in [0, 1]: the corpus formula on its own counts (METHOD 3).

    Raises ValueError if there are no references.
    """
    return float(_bleu4(np.asarray(bleu_statistics(hypothesis, references))))


def bleu_statistics(hypothesis: str, references: Sequence[str]) -> list[float]:
    """The additive counts of one raw caption, in the order of `STATISTICS`.

    `matches` are clipped by the largest count in any one reference; of equally close reference
    lengths the shorter counts. Raises ValueError if there are no references.
    """
    common.require_references(references)
    length, counts = _ngrams(hypothesis)
    clipped, reference_lengths = _merge_references(tuple(references))
    matches = [0] * _ORDERS
    for ngram, count in counts.items():
        matches[len(ngram) - 1] += min(count, clipped.get(ngram, 0))
    totals = [max(0, length - order) for order in range(_ORDERS)]
    closest = min(reference_lengths, key=lambda other: (abs(other - length), other))
    return [float(value) for value in (*matches, *totals, length, closest)]


@lru_cache(maxsize=16384)
def _merge_references(references: tuple[str, ...]) -> tuple[Counter, tuple[int, ...]]:
    merged: Counter = Counter()
    lengths = []
    for reference in references:
        length, counts = _ngrams(reference)
        lengths.append(length)
        merged |= counts
    return merged, tuple(lengths)


def _ngrams(text: str) -> tuple[int, Counter]:
    # The evaluation splits at any white space, so a token that holds a no-break space is two words.
    words = tokenise(text).split()
    counts = Counter(
        tuple(words[start : start + order])
        for order in range(1, _ORDERS + 1)
        for start in range(len(words) - order + 1)
    )
    return len(words), counts


def _bleu4(totals: np.ndarray) -> np.ndarray:
    matches, guesses = totals[..., :_ORDERS], totals[..., _ORDERS : 2 * _ORDERS]
    precision = np.prod((matches + _TINY) / (guesses + _SMALL), axis=-1) ** (1 / _ORDERS)
    ratio = (totals[..., -2] + _TINY) / (totals[..., -1] + _SMALL)
    brevity = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return precision * brevity
