"""VQA accuracy against a slow transcription of its definition, and its properties."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core.tasks import vqa

QUICK = settings(deadline=None, max_examples=60, derandomize=True)

texts = st.text(alphabet="abY n0159.,;:!?'\"-/\n\t()", max_size=12)
answers = st.lists(
    st.one_of(texts, st.sampled_from(["yes", "no", "2", "Yes.", "the dog", "dont"])),
    min_size=1,
    max_size=10,
)


def slow_normal_form(text: str) -> str:
    """The official order of operations, one step a line."""
    text = text.replace("\n", " ").replace("\t", " ").strip()
    before = text
    number_comma = any(
        before[i - 1].isdigit() and before[i] == "," and before[i + 1].isdigit()
        for i in range(1, len(before) - 1)
    )
    for mark in ';/[]"{}()=+\\_-><@`,?!':
        joined = mark + " " in before or " " + mark in before or number_comma
        text = text.replace(mark, "" if joined else " ")
    kept, dropped = [], 0
    for i, character in enumerate(text):
        if character == "." and not text[i + 1 : i + 2].isdigit() and dropped < 32:
            dropped += 1
        else:
            kept.append(character)
    words = [
        {"none": "0", "zero": "0", "ten": "10"}.get(word, word)
        for word in "".join(kept).lower().split()
    ]
    words = [word for word in words if word not in ("a", "an", "the")]
    return " ".join({"dont": "don't", "isnt": "isn't"}.get(word, word) for word in words)


def slow_accuracy(prediction: str, given_answers: list[str]) -> float:
    total = 0.0
    for left_out in range(len(given_answers)):
        others = given_answers[:left_out] + given_answers[left_out + 1 :]
        matches = [answer for answer in others if answer == prediction]
        total += min(1, len(matches) / 3)
    return total / len(given_answers)


@QUICK
@given(texts)
def test_normal_form_equals_transcription(text):
    assert vqa.normalise(text) == slow_normal_form(text)


@QUICK
@given(texts, answers)
def test_accuracy_equals_transcription(prediction, given_answers):
    normalised = [slow_normal_form(answer) for answer in given_answers]
    for asked in (prediction, given_answers[0]):
        expected = slow_accuracy(slow_normal_form(asked), normalised)
        assert vqa.vqa_accuracy(asked, given_answers) == pytest.approx(expected, abs=1e-12)


@QUICK
@given(answers, st.randoms(use_true_random=False))
def test_accuracy_is_bounded_and_ignores_the_order_of_answers(given_answers, random):
    prediction = given_answers[0]
    accuracy = vqa.vqa_accuracy(prediction, given_answers)
    shuffled = list(given_answers)
    random.shuffle(shuffled)
    assert 0.0 <= accuracy <= 1.0
    assert vqa.vqa_accuracy(prediction, shuffled) == pytest.approx(accuracy, abs=1e-12)
    assert 0.0 <= vqa.vqa_accuracy_2021(prediction, given_answers) <= 1.0


@QUICK
@given(texts)
def test_normal_form_ignores_case_and_outer_space(text):
    assert vqa.normalise(f" {text.upper()}\n") == vqa.normalise(text)


@pytest.mark.parametrize(
    ("matches", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_consensus(matches, expected):
    given_answers = ["cat"] * matches + [f"other{n}" for n in range(10 - matches)]
    assert vqa.vqa_accuracy("Cat.", given_answers) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The dog.", "dog"),
        ("Isnt it", "isn't it"),
        ("U.S.A.", "usa"),
        ("3.5", "3.5"),
        (".5", ".5"),
        ("1,000-2,000", "10002000"),
        ("red,blue", "red blue"),
        ("red, blue", "red blue"),
        ("black/white", "black white"),
        ("black /white", "black white"),
        ("a-b -c", "ab c"),
        ("two none Ten", "2 0 10"),
        ("somebody'd", "somebodyd"),
        ("it's: 10:30", "it's: 10:30"),
        ("x" + "." * 33 + "y", "x.y"),
    ],
)
def test_normal_form(text, expected):
    assert vqa.normalise(text) == expected


def test_the_2021_revision_does_not_normalise_unanimous_answers():
    assert vqa.vqa_accuracy("Yes", ["yes"] * 10) == 1.0
    assert vqa.vqa_accuracy_2021("Yes", ["yes"] * 10) == 0.0
    assert vqa.vqa_accuracy_2021("Yes", ["yes"] * 9 + ["no"]) == 1.0


@pytest.mark.parametrize("function", [vqa.vqa_accuracy, vqa.vqa_accuracy_2021])
def test_refuses_missing_answers(function):
    with pytest.raises(ValueError, match="at least one reference"):
        function("yes", [])
    with pytest.raises(ValueError, match="not the string"):
        function("yes", "yes")
