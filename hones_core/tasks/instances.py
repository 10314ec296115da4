"""One question to the model about one image: what every task is asked and scored on."""

from dataclasses import dataclass

from hones_core.task_catalogue import TASK_NAMES

VQA_ANSWERS = 10
CAPTION_REFERENCES = 5


@dataclass(frozen=True)
class Instance:
    """One sample of one task (METHOD 1).

    instance_id     unique name of the sample
    task            "vqa", "ocr", "caption" or "retrieval"
    split           the split it belongs to, such as "discovery"
    image_id        COCO image id
    image           path of the image that the model sees
    question        the question (vqa), else ""
    references      vqa: the ten answers; ocr: the transcription first, then any other accepted
                    spelling; caption: the five references; retrieval: ()
    candidates      retrieval: the captions to rank, the positive among them; else ()
    positive_index  retrieval: position of the positive in `candidates`; else -1

    Raises ValueError, naming the instance, if a field does not fit the task.
    """

    instance_id: str
    task: str
    split: str
    image_id: int
    image: str
    question: str
    references: tuple[str, ...]
    candidates: tuple[str, ...]
    positive_index: int

    @property
    def positive_candidate(self) -> str | None:
        """The caption that belongs to the image; None but for retrieval."""
        return self.candidates[self.positive_index] if self.candidates else None

    def __post_init__(self) -> None:
        problem = _common_problem(self) or _TASK_PROBLEM[self.task](self)
        if problem:
            raise ValueError(f"instance {self.instance_id!r} ({self.task}): {problem}")


def _common_problem(instance: Instance) -> str | None:
    if instance.task not in TASK_NAMES:
        return f"unknown task; known tasks are {', '.join(TASK_NAMES)}"
    for field in ("instance_id", "split", "image"):
        if not getattr(instance, field):
            return f"{field} is empty"
    for field in ("references", "candidates"):
        texts = getattr(instance, field)
        if not isinstance(texts, tuple) or not all(isinstance(text, str) for text in texts):
            return f"{field} must be a tuple of strings, got {type(texts).__name__}"
    if instance.task != "vqa" and instance.question:
        return "only a vqa instance has a question"
    if instance.task != "retrieval" and (instance.candidates or instance.positive_index != -1):
        return "only a retrieval instance has candidates and a positive_index"
    return None


def _vqa_problem(instance: Instance) -> str | None:
    if not instance.question.strip():
        return "the question is empty"
    if len(instance.references) != VQA_ANSWERS:
        return f"needs the {VQA_ANSWERS} human answers, got {len(instance.references)}"
    return None


def _ocr_problem(instance: Instance) -> str | None:
    if not instance.references:
        return "has no transcription"
    if any(not text.strip() for text in instance.references):
        return "the transcription is empty; such a box must be excluded from the benchmark"
    return None


def _caption_problem(instance: Instance) -> str | None:
    if len(instance.references) != CAPTION_REFERENCES:
        return f"needs {CAPTION_REFERENCES} reference captions, got {len(instance.references)}"
    return _blank("reference", instance.references)


def _retrieval_problem(instance: Instance) -> str | None:
    candidates, positive = instance.candidates, instance.positive_index
    if instance.references:
        return "a retrieval instance has candidates, not references"
    if len(candidates) < 2:
        return f"needs at least two candidates to rank, got {len(candidates)}"
    if not 0 <= positive < len(candidates):
        return f"positive_index {positive} is outside its {len(candidates)} candidates"
    if candidates.count(candidates[positive]) > 1:
        return f"the positive caption {candidates[positive]!r} is among the negatives too"
    return _blank("candidate", candidates)


def _blank(what: str, texts: tuple[str, ...]) -> str | None:
    empty = [index for index, text in enumerate(texts) if not text.strip()]
    return f"{what} {empty[0]} is empty" if empty else None


_TASK_PROBLEM = {
    "vqa": _vqa_problem,
    "ocr": _ocr_problem,
    "caption": _caption_problem,
    "retrieval": _retrieval_problem,
}
