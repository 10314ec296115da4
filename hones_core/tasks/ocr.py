"""Reading the text in the blue box: prompt, target, and ANLS (METHOD 2 and 3)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from hones_core.tasks import common
from hones_core.tasks.instances import Instance

KIND = "generation"
TARGET_KIND = "fixed"
STATISTICS = ("anls",)

_TEMPLATES = {
    "llava": "Please transcribe the text inside the blue box. Output text only.",
    "qwen2_5_vl": "Transcribe the text inside the blue box. Output text only.",
}


def instruction(family: str, instance: Instance, candidate: str | None = None) -> str:
    """The prompt text of METHOD 2 without the chat template; ValueError for an unknown family."""
    common.refuse_candidate("ocr", candidate)
    return common.template_for(_TEMPLATES, family)


def targets(instance: Instance) -> list[str]:
    """The transcription (METHOD 5)."""
    return [instance.references[0]]


def utility(prediction: str, instance: Instance) -> float:
    """ANLS of one transcription, in [0, 1]."""
    return anls(prediction, instance.references)


def statistics(prediction: str, instance: Instance) -> list[float]:
    """What sums over instances: the ANLS."""
    return [utility(prediction, instance)]


def score(total_statistics: ArrayLike, n: int) -> float | np.ndarray:
    """Mean ANLS in [0, 1] from summed statistics, one per row (see `common.mean_score`)."""
    return common.mean_score(total_statistics, n)


def anls(prediction: str, references: Sequence[str], threshold: float = 0.5) -> float:
    """Average normalised Levenshtein similarity of one prediction, in [0, 1] (METHOD 3).

    The best `1 - distance / longer length` over the references; below `threshold` it counts as 0,
    at the threshold it is kept. Case and the amount of white space do not count, punctuation does.
    Raises ValueError if there are no references.
    """
    common.require_references(references)
    predicted = _simplify(prediction)
    best = max(_similarity(predicted, _simplify(reference)) for reference in references)
    return best if best >= threshold else 0.0


def _simplify(text: str) -> str:
    return " ".join(text.lower().split())


def _similarity(a: str, b: str) -> float:
    longer = max(len(a), len(b))
    return 1.0 - edit_distance(a, b) / longer if longer else 1.0


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance in characters: fewest insertions, deletions and substitutions."""
    if len(a) < len(b):
        a, b = b, a
    previous = list(range(len(b) + 1))
    for i, char_a in enumerate(a, start=1):
        current = [i]
        for j, char_b in enumerate(b, start=1):
            change = previous[j - 1] + (char_a != char_b)
            current.append(min(change, previous[j] + 1, current[j - 1] + 1))
        previous = current
    return previous[-1]
