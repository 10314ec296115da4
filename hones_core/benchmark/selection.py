"""Which images have a complete annotation for every task, and which annotation is chosen.

METHOD 1 (paper 3): an image is usable if COCO Captions, COCO-Text and VQAv2 all have it, with five
captions, a question with ten answers, and a legible, transcribed box. Every image that any file
mentions ends up either in the records or, with one reason, among the excluded.
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hones_core.benchmark.annotations import (
    Captions,
    CocoText,
    ImageEntry,
    Question,
    TextBox,
    read_captions,
    read_coco_text,
    read_vqa,
)
from hones_core.benchmark.boxes import clamp_box, reaches_outside
from hones_core.benchmark.seeding import seeded_key
from hones_core.schemas.benchmark import EXCLUDED, RECORDS

CAPTIONS_NEEDED = 5
ANSWERS_NEEDED = 10
QUESTION_SELECTIONS = ("first", "seeded_random")
BOX_SELECTIONS = ("largest", "first", "seeded_random")
BOXES_SHOWN = 3  # in the detail of an exclusion

# Reasons of exclusion, in the order in which they are checked: an image has the first that applies.
NOT_IN_CAPTIONS = "not_in_captions"
NOT_IN_COCO_TEXT = "not_in_coco_text"
NO_QUESTION = "no_question"
SOURCES_DISAGREE = "sources_disagree"
NO_CAPTIONS = "no_captions"
FEWER_THAN_FIVE_CAPTIONS = "fewer_than_five_captions"
BLANK_QUESTION = "blank_question"
NO_ANSWERS = "no_answers"
NOT_TEN_ANSWERS = "not_ten_answers"
BLANK_ANSWER = "blank_answer"
NO_TEXT_BOX = "no_text_box"
# Of these the last one that any of the image's boxes reaches: it says what was missing in the end.
NO_LEGIBLE_TEXT = "no_legible_text"
BLANK_TRANSCRIPTION = "blank_transcription"
DAMAGED_OUTLINE = "damaged_outline"
BOX_OUTSIDE_IMAGE = "box_outside_image"
BOX_TOO_SMALL = "box_too_small"
BOX_REASONS = (
    NO_LEGIBLE_TEXT,
    BLANK_TRANSCRIPTION,
    DAMAGED_OUTLINE,
    BOX_OUTSIDE_IMAGE,
    BOX_TOO_SMALL,
)
REASONS = (
    NOT_IN_CAPTIONS,
    NOT_IN_COCO_TEXT,
    NO_QUESTION,
    SOURCES_DISAGREE,
    NO_CAPTIONS,
    FEWER_THAN_FIVE_CAPTIONS,
    BLANK_QUESTION,
    NO_ANSWERS,
    NOT_TEN_ANSWERS,
    BLANK_ANSWER,
    NO_TEXT_BOX,
    *BOX_REASONS,
)


class _ExclusionError(Exception):
    """Why the image at hand is not usable; turned into a row of the excluded images."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class _Sources:
    captions: Captions
    coco_text: CocoText
    questions: dict[int, list[Question]]

    def image_ids(self) -> list[int]:
        """Every image that any file mentions."""
        return sorted({*self.captions.images, *self.coco_text.images, *self.questions})

    def file_name(self, image_id: int) -> str:
        """The image's file name, by whichever file has it; empty if none has."""
        images = (self.captions.images, self.coco_text.images)
        return next((found[image_id].file_name for found in images if image_id in found), "")

    def present(self, image_id: int) -> tuple[bool, bool, bool]:
        """Whether the captions file, the COCO-Text file and the questions have the image."""
        return (
            image_id in self.captions.images,
            image_id in self.coco_text.images,
            image_id in self.questions,
        )


@dataclass(frozen=True)
class _Choice:
    question: str
    box: str
    min_height_px: float
    seed: int


def build_records(
    captions: str | Path,
    coco_text: str | Path,
    vqa_questions: str | Path,
    vqa_annotations: str | Path,
    *,
    question_selection: str = "first",
    box_selection: str = "seeded_random",
    min_height_px: float = 0,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the four official files and return the usable images and the excluded ones.

    `question_selection`: `first` (lowest question id, as in the release) or `seeded_random`, among
    the image's questions with ten answers. `box_selection`: `largest` (area, then lowest id),
    `first` (in reading order: top edge, left edge, id) or `seeded_random`, among the legible boxes
    with a transcription whose part inside the image is at least `min_height_px` pixels high.
    Captions are the five non-empty ones of lowest annotation id. Random choices depend on `seed`
    and the image alone.

    Returns frames of the schemas RECORDS and EXCLUDED. Raises AnnotationError for a damaged file,
    ValueError for an unknown selection.
    """
    _check_option("question_selection", question_selection, QUESTION_SELECTIONS)
    _check_option("box_selection", box_selection, BOX_SELECTIONS)
    sources = _Sources(
        read_captions(captions), read_coco_text(coco_text), read_vqa(vqa_questions, vqa_annotations)
    )
    choice = _Choice(question_selection, box_selection, min_height_px, seed)
    records, excluded = [], []
    for image_id in sources.image_ids():
        try:
            records.append(_record(image_id, sources, choice))
        except _ExclusionError as exclusion:
            name, present = sources.file_name(image_id), sources.present(image_id)
            excluded.append((image_id, name, exclusion.reason, exclusion.detail, *present))
    return (
        pd.DataFrame(records, columns=RECORDS.names),
        pd.DataFrame(excluded, columns=EXCLUDED.names),
    )


def _check_option(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is {value!r}, not one of {', '.join(allowed)}")


def _record(image_id: int, sources: _Sources, choice: _Choice) -> dict:
    image = _image(image_id, sources)
    captions = _captions(sources.captions.captions[image_id])
    question = _question(sources.questions[image_id], choice)
    text_box = _text_box(sources.coco_text.boxes[image_id], image, choice)
    x, y, w, h = clamp_box(text_box.box, image.width, image.height)
    return {
        "image_id": image_id,
        "file_name": image.file_name,
        "width": image.width,
        "height": image.height,
        "question_id": question.question_id,
        "question": question.question.strip(),
        "question_type": question.question_type,
        "answer_type": question.answer_type,
        "answers": list(question.answers),
        "box_id": text_box.box_id,
        "box_x": x,
        "box_y": y,
        "box_w": w,
        "box_h": h,
        "box_clamped": reaches_outside(text_box.box, image.width, image.height),
        "transcription": text_box.transcription.strip(),
        "captions": captions,
    }


def _image(image_id: int, sources: _Sources) -> ImageEntry:
    """The image's entry, if all sources have it and agree on it."""
    if image_id not in sources.captions.images:
        raise _ExclusionError(NOT_IN_CAPTIONS, "the captions file does not declare the image")
    if image_id not in sources.coco_text.images:
        raise _ExclusionError(NOT_IN_COCO_TEXT, "the COCO-Text file does not declare the image")
    if image_id not in sources.questions:
        raise _ExclusionError(NO_QUESTION, "no question of the VQA file is about the image")
    image, other = sources.captions.images[image_id], sources.coco_text.images[image_id]
    if image != other:
        named = [f"{e.file_name} {e.width} x {e.height}" for e in (image, other)]
        detail = f"{named[0]} in the captions file, {named[1]} in the COCO-Text file"
        raise _ExclusionError(SOURCES_DISAGREE, detail)
    return image


def _captions(captions: dict[int, str]) -> list[str]:
    """The first five captions by annotation id; all white space becomes single spaces."""
    texts = [" ".join(captions[caption_id].split()) for caption_id in sorted(captions)]
    filled = [text for text in texts if text]
    if not filled:
        detail = f"{len(texts)} captions, all of them empty" if texts else "no caption"
        raise _ExclusionError(NO_CAPTIONS, detail)
    if len(filled) < CAPTIONS_NEEDED:
        detail = f"{len(filled)} of {len(texts)} captions have text"
        raise _ExclusionError(FEWER_THAN_FIVE_CAPTIONS, detail)
    return filled[:CAPTIONS_NEEDED]


def _most_common(answers: tuple[str, ...]) -> str:
    """What VQA takes for the target, without outer spaces."""
    return Counter(answers).most_common(1)[0][0].strip()


def _question(questions: list[Question], choice: _Choice) -> Question:
    """The chosen one of the questions with text and ten answers, the most common one with text."""
    ids = ", ".join(str(question.question_id) for question in questions)
    worded = [question for question in questions if question.question.strip()]
    if not worded:
        raise _ExclusionError(BLANK_QUESTION, f"question {ids}")
    answered = [question for question in worded if question.answers]
    if not answered:
        raise _ExclusionError(NO_ANSWERS, f"question {ids}")
    complete = [question for question in answered if len(question.answers) == ANSWERS_NEEDED]
    if not complete:
        counts = (f"{question.question_id}: {len(question.answers)}" for question in answered)
        raise _ExclusionError(NOT_TEN_ANSWERS, "answers of question " + ", ".join(counts))
    complete = [question for question in complete if _most_common(question.answers)]
    if not complete:
        raise _ExclusionError(BLANK_ANSWER, f"most answers of question {ids} have no text")
    if choice.question == "first":
        return min(complete, key=lambda question: question.question_id)
    return min(complete, key=lambda question: _random_key(choice, "question", question.question_id))


def _text_box(boxes: list[TextBox], image: ImageEntry, choice: _Choice) -> TextBox:
    """The chosen one of the usable boxes."""
    if not boxes:
        raise _ExclusionError(NO_TEXT_BOX, "the COCO-Text file has no box on the image")
    problems = [_box_problem(box, image, choice.min_height_px) for box in boxes]
    usable = [box for box, problem in zip(boxes, problems, strict=True) if problem is None]
    if not usable:
        reason = max(filter(None, problems), key=BOX_REASONS.index)
        at_fault = [box for box, problem in zip(boxes, problems, strict=True) if problem == reason]
        raise _ExclusionError(reason, _described(at_fault))
    return min(usable, key=lambda box: _box_key(box, image, choice))


def _box_problem(box: TextBox, image: ImageEntry, min_height_px: float) -> str | None:
    """The first requirement that the box fails, None if it is usable."""
    if not box.legible:
        return NO_LEGIBLE_TEXT
    if not box.transcription.strip():
        return BLANK_TRANSCRIPTION
    if not box.outline_ok:
        return DAMAGED_OUTLINE
    try:
        clamped = clamp_box(box.box, image.width, image.height)
    except ValueError:
        return BOX_OUTSIDE_IMAGE
    return BOX_TOO_SMALL if clamped[3] < min_height_px else None


def _box_key(box: TextBox, image: ImageEntry, choice: _Choice) -> tuple[float, ...]:
    """What the chosen box has the smallest of."""
    if choice.box == "seeded_random":
        return (_random_key(choice, "box", box.box_id),)
    x, y, w, h = clamp_box(box.box, image.width, image.height)
    if choice.box == "largest":
        return (-w * h, box.box_id)
    return (y, x, box.box_id)


def _random_key(choice: _Choice, purpose: str, record_id: int) -> int:
    """Record ids are unique over all images, so that every image is drawn for on its own."""
    return seeded_key(choice.seed, purpose, record_id)


def _described(boxes: list[TextBox]) -> str:
    """The first boxes in words, and how many more there are."""
    words = [f"box {box.box_id} at {box.box}, text {box.transcription!r}" for box in boxes]
    more = [f"{len(words) - BOXES_SHOWN} more"] if len(words) > BOXES_SHOWN else []
    return "; ".join(words[:BOXES_SHOWN] + more)
