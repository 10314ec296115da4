"""How long a task's prompts and answers are, in tokens: what memory and time depend on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, TypeVar

from hones_core.benchmark.images import open_image
from hones_core.tasks.instances import Instance

SAMPLE = 16  # instances whose lengths are looked at
Sized = TypeVar("Sized")


@dataclass(frozen=True)
class Lengths:
    """Tokens of one instance.

    prompt: with its image (retrieval: with one candidate). answer: greedy, end included. target:
    that is scored. candidates: their number (0 for a task that generates); suffix: a candidate's
    own tokens, behind what all prompts of the query share. Where several questions share a row,
    prompt is what their prompts share, and beside their own rests, and the others' answers and
    targets.
    """

    prompt: int
    answer: int
    target: int
    candidates: int = 0
    suffix: int = 0
    beside: int = 0

    @property
    def prefix(self) -> int:
        """Tokens that all prompts of a query share."""
        return self.prompt - self.suffix

    @property
    def nodes(self) -> int:
        """Tokens behind the prompt: draft and target without their last tokens, unshared."""
        return max(0, self.answer - 1) + max(0, self.target - 1) + self.beside

    @property
    def columns(self) -> int:
        """Prompt, draft and target."""
        return self.prompt + self.nodes


def measured(evaluator: Any, instances: Sequence[Instance]) -> Lengths:
    """The largest lengths among some of the instances, by the evaluator's model and task.

    Of instances in the order of their texts' lengths an even selection is looked at, with the
    longest; an answer is as long as it may become. Raises what reading an image raises.
    """
    chosen = _selection([(_characters(instance), instance) for instance in instances])
    return _largest(_lengths(evaluator, instance) for instance in chosen)


def measured_together(
    evaluators: Mapping[str, Any], images: Sequence[Sequence[Instance]]
) -> Lengths:
    """As `measured`, of the questions about each image in one row; evaluators by task."""
    chosen = _selection([(sum(map(_characters, image)), image) for image in images])
    found = [_together(evaluators, image) for image in chosen]
    largest = _largest(found)
    too_many = largest.nodes - max(one.nodes for one in found)
    return replace(largest, beside=largest.beside - too_many)


def side_by_side(questions: Sequence[Lengths], shared: int) -> Lengths:
    """Questions that are asked in one row, behind the prompts' `shared` tokens."""
    largest = replace(_largest(questions), prompt=shared)
    own = sum(one.columns - shared for one in questions)
    return replace(largest, beside=max(0, own - largest.nodes))


def _selection(samples: Sequence[tuple[int, Sized]]) -> list[Sized]:
    """Of samples, each with its length in characters, an even selection with the longest."""
    ordered = sorted(samples, key=lambda pair: pair[0])
    step = max(1, len(ordered) // SAMPLE)
    return [sample for _, sample in ordered[::-1][::step][:SAMPLE]]


def _largest(found: Iterable[Lengths]) -> Lengths:
    return Lengths(*(max(values) for values in zip(*map(astuple, found), strict=True)))


def _together(evaluators: Mapping[str, Any], image: Sequence[Instance]) -> Lengths:
    questions = [_lengths(evaluators[one.task], one) for one in image]
    prompts = []
    for one in image:
        evaluator = evaluators[one.task]
        prompts.append(evaluator.adapter.tokenizer(evaluator.text(one))["input_ids"])
    own = len(prompts[0]) - common_prefix(prompts)
    return side_by_side(questions, questions[0].prompt - own)


def common_prefix(rows: Sequence[list[int]]) -> int:
    """Length of the longest common prefix, leaving at least one token to every row."""
    first, last = min(rows), max(rows)  # the lexicographic extremes differ earliest
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return min(length, min(len(row) for row in rows) - 1)


def _lengths(evaluator: Any, instance: Instance) -> Lengths:
    adapter = evaluator.adapter
    picture = [open_image(evaluator.image_folder, instance.image)]
    if evaluator.task.KIND != "ranking":
        prompt = _prompt_tokens(adapter, picture, evaluator.text(instance))
        target = max(len(ids) for ids in evaluator.target_ids(instance))
        return Lengths(prompt, evaluator.max_new_tokens, target)
    texts = [evaluator.text(instance, candidate) for candidate in instance.candidates]
    ids = [adapter.tokenizer(text)["input_ids"] for text in texts]
    longest = max(range(len(ids)), key=lambda index: len(ids[index]))
    prompt = _prompt_tokens(adapter, picture, texts[longest])
    return Lengths(prompt, 1, 1, len(ids), len(ids[longest]) - common_prefix(ids))


def _prompt_tokens(adapter: Any, picture: list, text: str) -> int:
    return adapter.inputs(picture, [text])["input_ids"].shape[1]


def _characters(instance: Instance) -> int:
    return len(instance.question) + sum(map(len, (*instance.references, *instance.candidates)))
