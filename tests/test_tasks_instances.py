"""Instances, prompts, targets, and the interface that every task module shares."""

import dataclasses

import numpy as np
import pytest

from hones_core.task_catalogue import TASK_NAMES
from hones_core.tasks import TASKS, Instance, get_task
from hones_core.tasks.common import WORDS as FAMILIES

COMMON = {
    "instance_id": "x-1",
    "split": "test",
    "image_id": 9,
    "image": "images/9.png",
    "question": "",
    "references": (),
    "candidates": (),
    "positive_index": -1,
}
FIELDS = {
    "vqa": {"question": "What colour?", "references": ("red",) * 6 + ("blue",) * 4},
    "ocr": {"references": ("STOP",)},
    "caption": {"references": tuple(f"caption {n}" for n in range(5))},
    "retrieval": {"candidates": ("a cat", "a dog", "a cow"), "positive_index": 1},
}
KINDS = {
    "vqa": ("generation", "fixed"),
    "ocr": ("generation", "fixed"),
    "caption": ("generation", "open_ended"),
    "retrieval": ("ranking", "fixed"),
}
OUTPUTS = {"vqa": "Red.", "ocr": "stop", "caption": "caption 3", "retrieval": [0.0, 2.0, 1.0]}


def make(name: str, **changes) -> Instance:
    return Instance(**{**COMMON, "task": name, **FIELDS[name], **changes})


def test_order_of_the_registry():
    assert tuple(TASKS) == TASK_NAMES == ("vqa", "ocr", "caption", "retrieval")


def test_unknown_task_is_named():
    with pytest.raises(ValueError, match=r"'poetry'.*vqa, ocr, caption, retrieval"):
        get_task("poetry")


@pytest.mark.parametrize("name", TASKS)
def test_interface(name):
    task, instance = get_task(name), make(name)
    assert KINDS[name] == (task.KIND, task.TARGET_KIND)
    statistics = task.statistics(OUTPUTS[name], instance)
    assert len(statistics) == len(task.STATISTICS)
    assert all(isinstance(value, float) for value in statistics)
    assert isinstance(task.utility(OUTPUTS[name], instance), float)
    assert task.score(statistics, 1) == pytest.approx(task.utility(OUTPUTS[name], instance))
    assert isinstance(task.score(statistics, 1), float)


@pytest.mark.parametrize("name", TASKS)
def test_score_over_a_leading_axis(name):
    task = get_task(name)
    rows = np.array([task.statistics(OUTPUTS[name], make(name))] * 3)
    scores = task.score(rows * 2, 2)
    assert scores.shape == (3,)
    assert scores == pytest.approx([task.score(row * 2, 2) for row in rows])


@pytest.mark.parametrize("name", TASKS)
def test_score_refuses_what_it_cannot_aggregate(name):
    task = get_task(name)
    with pytest.raises(ValueError, match="at least one instance"):
        task.score([0.0] * len(task.STATISTICS), 0)
    with pytest.raises(ValueError, match="statistics per row"):
        task.score([0.0] * (len(task.STATISTICS) + 1), 1)


INSTRUCTIONS = {
    (
        "vqa",
        "llava",
    ): "Question: What colour? Answer the question briefly using one or a few words.",
    ("vqa", "qwen2_5_vl"): "Question: What colour? Answer the question with a short phrase.",
    ("ocr", "llava"): "Please transcribe the text inside the blue box. Output text only.",
    ("ocr", "qwen2_5_vl"): "Transcribe the text inside the blue box. Output text only.",
    ("caption", "llava"): "Describe the image in one sentence.",
    ("caption", "qwen2_5_vl"): "Describe the image in one sentence.",
}


@pytest.mark.parametrize(("name", "family"), INSTRUCTIONS)
def test_instruction(name, family):
    task = get_task(name)
    assert task.instruction(family, make(name)) == INSTRUCTIONS[name, family]
    with pytest.raises(ValueError, match="takes no candidate"):
        task.instruction(family, make(name), "a cat")


@pytest.mark.parametrize("family", FAMILIES)
def test_retrieval_instruction(family):
    task, instance = get_task("retrieval"), make("retrieval")
    assert task.instruction(family, instance, "A {dog}.") == (
        "Candidate: A {dog}. Does the candidate correctly describe the image? "
        "Answer exactly Yes or No."
    )
    with pytest.raises(ValueError, match=r"x-1.*one candidate"):
        task.instruction(family, instance)


def test_a_question_with_braces_is_not_a_template():
    question = "What is {x}?"
    text = get_task("vqa").instruction("llava", make("vqa", question=question))
    assert text.startswith("Question: What is {x}? Answer")


@pytest.mark.parametrize("name", TASKS)
def test_unknown_family_is_named(name):
    candidate = "a cat" if name == "retrieval" else None
    with pytest.raises(ValueError, match=r"'gpt'.*llava, qwen2_5_vl"):
        get_task(name).instruction("gpt", make(name), candidate)


def test_targets():
    assert get_task("vqa").targets(make("vqa")) == ["red"]
    assert get_task("ocr").targets(make("ocr")) == ["STOP"]
    assert get_task("caption").targets(make("caption")) == [f"caption {n}" for n in range(5)]
    assert get_task("retrieval").targets(make("retrieval")) == ["Yes"]


def test_equally_common_answers_go_by_first_occurrence():
    answers = ("b", "a", "c", "a", "b", "c", "d", "e", "f", "g")
    assert get_task("vqa").targets(make("vqa", references=answers)) == ["b"]


BAD = [
    ("vqa", {"task": "poetry"}, "unknown task"),
    ("vqa", {"instance_id": ""}, "instance_id is empty"),
    ("vqa", {"split": ""}, "split is empty"),
    ("ocr", {"image": ""}, "image is empty"),
    ("vqa", {"question": "  "}, "question is empty"),
    ("vqa", {"references": ("red",) * 9}, "10 human answers, got 9"),
    ("vqa", {"references": ["red"] * 10}, "tuple of strings, got list"),
    ("vqa", {"candidates": ("x",)}, "only a retrieval instance"),
    ("ocr", {"question": "Why?"}, "only a vqa instance has a question"),
    ("ocr", {"references": ()}, "no transcription"),
    ("ocr", {"references": (" \n",)}, "transcription is empty"),
    ("caption", {"references": ("a",) * 4}, "5 reference captions, got 4"),
    ("caption", {"references": ("a", "b", " ", "d", "e")}, "reference 2 is empty"),
    ("caption", {"positive_index": 0}, "only a retrieval instance"),
    ("retrieval", {"references": ("a",)}, "not references"),
    ("retrieval", {"candidates": ("a",), "positive_index": 0}, "at least two candidates"),
    ("retrieval", {"positive_index": 3}, "positive_index 3 is outside its 3"),
    ("retrieval", {"positive_index": -1}, "positive_index -1 is outside"),
    ("retrieval", {"candidates": ("a", "b", "b")}, "among the negatives"),
    ("retrieval", {"candidates": ("", "b", "c")}, "candidate 0 is empty"),
]


@pytest.mark.parametrize(("task", "changes", "message"), BAD)
def test_bad_instance_is_named(task, changes, message):
    with pytest.raises(ValueError, match=message):
        make(task, **changes)


def test_error_names_the_instance():
    with pytest.raises(ValueError, match=r"^instance 'x-1' \(ocr\): "):
        make("ocr", references=())


def test_instance_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        make("ocr").question = "?"
