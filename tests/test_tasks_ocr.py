"""ANLS against a slow transcription of its definition, and its properties."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core.tasks import ocr

QUICK = settings(deadline=None, max_examples=60, derandomize=True)

texts = st.text(alphabet="abAB .-É", max_size=8)


def slow_distance(a: str, b: str) -> int:
    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        change = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(change, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(a), len(b))


def slow_anls(prediction: str, references: list[str]) -> float:
    scores = [0.0]
    for reference in references:
        a, b = (" ".join(text.strip().lower().split()) for text in (prediction, reference))
        longer = max(len(a), len(b))
        similarity = 1 - slow_distance(a, b) / longer if longer else 1.0
        if similarity >= 0.5:
            scores.append(similarity)
    return max(scores)


@QUICK
@given(texts, texts)
def test_edit_distance(a, b):
    assert ocr.edit_distance(a, b) == slow_distance(a, b) == ocr.edit_distance(b, a)


@QUICK
@given(texts, st.lists(texts, min_size=1, max_size=3))
def test_anls_equals_transcription(prediction, references):
    assert ocr.anls(prediction, references) == slow_anls(prediction, references)


@QUICK
@given(texts, texts)
def test_anls_is_bounded_and_symmetric(a, b):
    assert 0.0 <= ocr.anls(a, [b]) == ocr.anls(b, [a]) <= 1.0
    assert ocr.anls(a, [a]) == 1.0


@QUICK
@given(texts, st.lists(texts, min_size=1, max_size=3), texts)
def test_a_further_reference_never_hurts(prediction, references, further):
    assert ocr.anls(prediction, [*references, further]) >= ocr.anls(prediction, references)


@pytest.mark.parametrize(
    ("prediction", "reference", "expected"),
    [
        ("stop", " STOP\n", 1.0),
        ("New \t York", "new york", 1.0),
        ("ab", "ax", 0.5),
        ("abc", "axy", 0.0),
        ("S.T.O.P", "STOP", 4 / 7),
        ("", "", 1.0),
        ("", "x", 0.0),
        ("NAANDALE.COM", "NAVANDALE.COM", 12 / 13),
        ("İstanbul", "istanbul", 8 / 9),
    ],
)
def test_anls(prediction, reference, expected):
    assert ocr.anls(prediction, [reference]) == pytest.approx(expected, abs=1e-12)


def test_threshold_is_a_parameter():
    assert ocr.anls("ab", ["ax"], threshold=0.6) == 0.0


def test_refuses_missing_references():
    with pytest.raises(ValueError, match="at least one reference"):
        ocr.anls("x", [])
    with pytest.raises(ValueError, match="not the string"):
        ocr.anls("x", "x")
