"""Readers of the official annotation files (METHOD 1), checked record by record.

COCO Captions `captions_train2014.json`, COCO-Text `cocotext.v2.json` (and v1.4, which differs in
that a box's outline is called `polygon`), VQAv2 questions and annotations. Every reader returns
plain dataclasses sorted by id, so that nothing depends on the order of the records in a file. A
damaged file raises AnnotationError; what is well-formed but incomplete is left to `selection`.

The files are read record by record (`json_stream`), and only the fields that are used are kept: the
443,757 questions of VQAv2 with their answers take some 300 MB, not the gigabytes of the whole file.
"""

import contextlib
import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pycocotools.coco import COCO

from hones_core.benchmark.boxes import Box
from hones_core.benchmark.json_files import Place, file_name, integer, is_finite, numbers, text
from hones_core.benchmark.json_stream import records

SAME_RELEASE = "take both files from the same release"


@dataclass(frozen=True, slots=True)
class ImageEntry:
    """An image as an annotation file declares it; width and height in pixels."""

    image_id: int
    file_name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions file: its images by id, and each image's raw captions by annotation id."""

    images: dict[int, ImageEntry]
    captions: dict[int, dict[int, str]]


@dataclass(frozen=True, slots=True)
class TextBox:
    """One COCO-Text annotation.

    `box` is x, y, w, h in pixels as annotated (it may reach outside the image). `transcription` is
    the raw text, empty where the file has none. `outline_ok` is False where the outline (`mask` in
    v2, `polygon` in v1.4) is no list of points.
    """

    box_id: int
    image_id: int
    box: Box
    transcription: str
    legible: bool
    outline_ok: bool


@dataclass(frozen=True, slots=True)
class CocoText:
    """The COCO-Text file: its images by id, and each image's boxes in the order of their ids."""

    images: dict[int, ImageEntry]
    boxes: dict[int, list[TextBox]]


@dataclass(frozen=True, slots=True)
class Question:
    """A VQAv2 question, with the types and human answers of its annotation.

    `answers` is empty, and the types are too, where the annotations file has nothing on it.
    """

    question_id: int
    image_id: int
    question: str
    question_type: str = ""
    answer_type: str = ""
    answers: tuple[str, ...] = ()


def read_captions(path: str | Path) -> Captions:
    """Read a COCO captions file; AnnotationError if it is not one or contradicts itself."""
    path = Path(path)
    images = _images(records(path, "images", list))
    seen: set[int] = set()
    annotations = []
    for place, entry in records(path, "annotations", list):
        _new_id(integer(entry, "id", place), seen, place, "annotation id")
        _declared(integer(entry, "image_id", place), images, place)
        text(entry, "caption", place, default="")
        annotations.append(entry)
    index = _coco_index(annotations)
    captions = {
        image_id: {entry["id"]: entry.get("caption") or "" for entry in _by_id(index[image_id])}
        for image_id in images
    }
    return Captions(images, captions)


def read_coco_text(path: str | Path) -> CocoText:
    """Read a COCO-Text file, v2 or v1.4; AnnotationError if it is not one or contradicts itself.

    The file's own index `imgToAnns` is not read: it repeats each annotation's image id.
    """
    path = Path(path)
    images = _images(_keyed_by_id(records(path, "imgs", dict)))
    boxes: dict[int, list[TextBox]] = {image_id: [] for image_id in images}
    for place, entry in records(path, "anns", dict):
        _key_is_id(place, entry)
        box = _text_box(place, entry)
        _declared(box.image_id, images, place)
        boxes[box.image_id].append(box)
    for found in boxes.values():
        found.sort(key=lambda box: box.box_id)
    return CocoText(images, boxes)


def read_vqa(questions: str | Path, annotations: str | Path) -> dict[int, list[Question]]:
    """Read a VQAv2 questions file with its annotations file: the questions of each image by id.

    An annotation must belong to a declared question and name the same image. A question without
    annotation is returned without answers.
    """
    questions, annotations = Path(questions), Path(annotations)
    declared = _questions(questions)
    seen: set[int] = set()
    for place, entry in records(annotations, "annotations", list):
        question_id = integer(entry, "question_id", place)
        _new_id(question_id, seen, place, "question id")
        if question_id not in declared:
            raise place.error(f"question {question_id} is not in {questions}", SAME_RELEASE)
        declared[question_id] = _answered(declared[question_id], place, entry)
    by_image: dict[int, list[Question]] = {}
    for question_id in sorted(declared):
        by_image.setdefault(declared[question_id].image_id, []).append(declared[question_id])
    return by_image


def _questions(path: Path) -> dict[int, Question]:
    questions: dict[int, Question] = {}
    for place, entry in records(path, "questions", list):
        question = Question(
            integer(entry, "question_id", place),
            integer(entry, "image_id", place),
            text(entry, "question", place),
        )
        if question.question_id in questions:
            raise place.error(f"question id {question.question_id} occurs twice")
        questions[question.question_id] = question
    return questions


def _answered(question: Question, place: Place, entry: dict) -> Question:
    """`question` with the answers of its annotation, in the order of the annotation."""
    image_id = integer(entry, "image_id", place)
    if image_id != question.image_id:
        problem = (
            f"question {question.question_id} is about image {question.image_id}, "
            f"but its annotation about image {image_id}"
        )
        raise place.error(problem, SAME_RELEASE)
    answers = entry.get("answers")
    if not isinstance(answers, list):
        raise place.error(f"answers of question {question.question_id} are missing or no list")
    return Question(
        question.question_id,
        question.image_id,
        question.question,
        sys.intern(text(entry, "question_type", place)),
        sys.intern(text(entry, "answer_type", place)),
        tuple(_answer(answer, place, position) for position, answer in enumerate(answers)),
    )


def _answer(answer: object, place: Place, position: int) -> str:
    """The text of one human answer. Answers repeat: equal ones share their memory."""
    place = Place(place.path, f"{place.section}[{place.key}]['answers']", position)
    if not isinstance(answer, dict):
        raise place.error("is no object with an answer")
    return sys.intern(text(answer, "answer", place))


def _images(entries: Iterable[tuple[Place, dict]]) -> dict[int, ImageEntry]:
    """The declared images in the order of their ids; ids and file names must be unique."""
    ids: set[int] = set()
    names: set[str] = set()
    images = []
    for place, entry in entries:
        image = ImageEntry(
            integer(entry, "id", place),
            file_name(entry, "file_name", place),
            integer(entry, "width", place, smallest=1),
            integer(entry, "height", place, smallest=1),
        )
        _new_id(image.image_id, ids, place, "image id")
        if image.file_name in names:
            raise place.error(f"file name {image.file_name!r} occurs twice")
        names.add(image.file_name)
        images.append(image)
    images.sort(key=lambda image: image.image_id)
    return {image.image_id: image for image in images}


def _text_box(place: Place, entry: dict) -> TextBox:
    x, y, w, h = numbers(entry, "bbox", place, count=4)
    return TextBox(
        box_id=integer(entry, "id", place),
        image_id=integer(entry, "image_id", place),
        box=(x, y, w, h),
        transcription=text(entry, "utf8_string", place, default=""),  # v1.4 leaves it out
        legible=text(entry, "legibility", place) == "legible",
        outline_ok=_is_outline(entry.get("mask", entry.get("polygon", []))),
    )


def _is_outline(values: object) -> bool:
    """Whether `values` are x, y of points. Only the box is used, so that none at all will do."""
    return isinstance(values, list) and len(values) % 2 == 0 and all(map(is_finite, values))


def _coco_index(annotations: list[dict]) -> dict[int, list[dict]]:
    """The captions of each image, by pycocotools, which prints on the way."""
    coco = COCO()
    coco.dataset = {"annotations": annotations}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco.imgToAnns


def _by_id(entries: list[dict]) -> list[dict]:
    return sorted(entries, key=lambda entry: entry["id"])


def _new_id(value: int, seen: set[int], place: Place, what: str) -> None:
    if value in seen:
        raise place.error(f"{what} {value} occurs twice")
    seen.add(value)


def _keyed_by_id(entries: Iterable[tuple[Place, dict]]) -> Iterable[tuple[Place, dict]]:
    for place, entry in entries:
        _key_is_id(place, entry)
        yield place, entry


def _key_is_id(place: Place, entry: dict) -> None:
    if str(integer(entry, "id", place)) != place.key:
        raise place.error(f"its id is {entry['id']}, not its key")


def _declared(image_id: int, images: dict[int, ImageEntry], place: Place) -> None:
    if image_id not in images:
        raise place.error(f"image {image_id} is not declared among the file's images")
