"""Readers of GQA's balanced questions and of TextVQA 0.5.1, checked record by record.

A damaged file raises AnnotationError. What is well-formed but of no use here (no answer, fewer than
ten) is returned as an exclusion with its reason. Images are named by the data sets' ids.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from hones_core.benchmark.file_names import unsafe_name
from hones_core.benchmark.json_files import Place, integer, text
from hones_core.benchmark.json_stream import records, top_level_records

ANSWERS_NEEDED = 10
SUFFIX = ".jpg"  # of all images of GQA, TextVQA and Flickr30k

# Reasons of exclusion, in the order in which they are checked.
NOT_BALANCED = "not_balanced"
BLANK_QUESTION = "blank_question"
NO_ANSWERS = "no_answers"
NOT_TEN_ANSWERS = "not_ten_answers"
BLANK_ANSWER = "blank_answer"
FEWER_THAN_FIVE_CAPTIONS = "fewer_than_five_captions"


@dataclass(frozen=True, slots=True)
class OodItem:
    """A question with its answers, or an image with its captions (`question` is then empty)."""

    item_id: str
    image: str
    question: str
    references: tuple[str, ...]


@dataclass(frozen=True)
class OodData:
    """What a file holds: items, and (item id, reason, detail) of what can't be one."""

    items: list[OodItem] = field(default_factory=list)
    excluded: list[tuple[str, str, str]] = field(default_factory=list)


def read_gqa(path: str | Path) -> OodData:
    """Read a GQA questions file; its one answer stands ten times in the references.

    The file is one mapping by question id. `imageId` is a text ("2354786", "n161313").
    """
    data = OodData()
    for place, entry in top_level_records(path):
        question, answer = text(entry, "question", place), text(entry, "answer", place, default="")
        image = _image_file(text(entry, "imageId", place), "imageId", place)
        if entry.get("isBalanced") is False:
            data.excluded.append((str(place.key), NOT_BALANCED, "isBalanced is false"))
        else:
            answers = (answer,) * ANSWERS_NEEDED if answer.strip() else ()
            _add(data, OodItem(str(place.key), image, question.strip(), answers))
    return data


def read_textvqa(path: str | Path) -> OodData:
    """Read a TextVQA 0.5.1 file. The test file has no answers: all of it is excluded."""
    data, seen = OodData(), set()
    for place, entry in records(path, "data", list):
        question_id = integer(entry, "question_id", place)
        if question_id in seen:
            raise place.error(f"question id {question_id} occurs twice")
        seen.add(question_id)
        image = _image_file(text(entry, "image_id", place), "image_id", place)
        question = text(entry, "question", place).strip()
        answers = _texts(entry.get("answers", []), "answers", place)
        _add(data, OodItem(str(question_id), image, question, answers))
    return data


# By data set; Flickr30k's captions are read by `flickr30k`.
READERS: dict[str, Callable[[str | Path], OodData]] = {"gqa": read_gqa, "textvqa": read_textvqa}


def _add(data: OodData, item: OodItem) -> None:
    count = len(item.references)
    if not item.question:
        data.excluded.append((item.item_id, BLANK_QUESTION, "the question has no text"))
    elif not any(answer.strip() for answer in item.references):
        data.excluded.append((item.item_id, NO_ANSWERS, "no answer has text"))
    elif count != ANSWERS_NEEDED:
        data.excluded.append((item.item_id, NOT_TEN_ANSWERS, f"{count} answers"))
    elif not Counter(item.references).most_common(1)[0][0].strip():
        data.excluded.append((item.item_id, BLANK_ANSWER, "most answers have no text"))
    else:
        data.items.append(item)


def _image_file(image_id: str, key: str, place: Place) -> str:
    problem = unsafe_name(image_id) or ("holds a slash" if "/" in image_id else None)
    if problem:
        raise place.error(f"{key} {image_id!r} {problem}", "take the official file")
    return image_id + SUFFIX


def _texts(values: object, key: str, place: Place) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise place.error(f"{key} is a {type(values).__name__} where a list is expected")
    return tuple(text({key: value}, key, place) for value in values)
