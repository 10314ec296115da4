"""How long a task's prompts and answers are, in tokens: what memory and time depend on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hones_core.benchmark.images import open_image
from hones_core.tasks.instances import Instance

SAMPLE = 16  # instances whose lengths are looked at


@dataclass(frozen=True)
class Lengths:
    """Tokens of one instance.

    prompt: with its image (retrieval: with one candidate). answer: greedy, end included. target:
    that is scored. candidates: their number (0 for a task that generates); suffix: a candidate's
    own tokens, behind what all prompts of the query share.
    """

    prompt: int
    answer: int
    target: int
    candidates: int = 0
    suffix: int = 0

    @property
    def prefix(self) -> int:
        """Tokens that all prompts of a query share."""
        return self.prompt - self.suffix

    @property
    def nodes(self) -> int:
        """Tokens behind the prompt: draft and target without their last tokens, unshared."""
        return max(0, self.answer - 1) + max(0, self.target - 1)

    @property
    def columns(self) -> int:
        """Prompt, draft and target."""
        return self.prompt + self.nodes


def measured(evaluator: Any, instances: Sequence[Instance]) -> Lengths:
    """The largest lengths among some of the instances, by the evaluator's model and task.

    Of instances in the order of their texts' lengths an even selection is looked at, with the
    longest; an answer is as long as it may become. Raises what reading an image raises.
    """
    ordered = sorted(instances, key=_characters)
    step = max(1, len(ordered) // SAMPLE)
    chosen = ordered[::-1][::step][:SAMPLE]
    found = [_lengths(evaluator, instance) for instance in chosen]
    return Lengths(*(max(values) for values in zip(*found, strict=True)))


def common_prefix(rows: Sequence[list[int]]) -> int:
    """Length of the longest common prefix, leaving at least one token to every row."""
    first, last = min(rows), max(rows)  # the lexicographic extremes differ earliest
    length = 0
    while length < min(len(first), len(last)) and first[length] == last[length]:
        length += 1
    return min(length, min(len(row) for row in rows) - 1)


def _lengths(evaluator: Any, instance: Instance) -> tuple[int, int, int, int, int]:
    adapter = evaluator.adapter
    picture = [open_image(evaluator.image_folder, instance.image)]
    if evaluator.task.KIND != "ranking":
        prompt = _prompt_tokens(adapter, picture, evaluator.text(instance))
        target = max(len(ids) for ids in evaluator.target_ids(instance))
        return prompt, evaluator.max_new_tokens, target, 0, 0
    texts = [evaluator.text(instance, candidate) for candidate in instance.candidates]
    ids = [adapter.tokenizer(text)["input_ids"] for text in texts]
    longest = max(range(len(ids)), key=lambda index: len(ids[index]))
    prompt = _prompt_tokens(adapter, picture, texts[longest])
    return prompt, 1, 1, len(ids), len(ids[longest]) - common_prefix(ids)


def _prompt_tokens(adapter: Any, picture: list, text: str) -> int:
    return adapter.inputs(picture, [text])["input_ids"].shape[1]


def _characters(instance: Instance) -> int:
    return len(instance.question) + sum(map(len, (*instance.references, *instance.candidates)))
