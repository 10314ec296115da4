"""What scales are learned from: prompts with the text that they should be answered with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hones_core.engine.evaluate import Evaluator
from hones_core.steering.bank import SteeringError
from hones_core.tasks.instances import Instance


@dataclass(frozen=True)
class Example:
    """One prompt and the text it should be answered with."""

    instance: Instance
    target: str
    candidate: str | None = None


@dataclass(frozen=True)
class Asked:
    """One prompt: what an example is without its target."""

    instance: Instance
    candidate: str | None

    @classmethod
    def of(cls, example: Example) -> "Asked":
        return cls(example.instance, example.candidate)


def epoch_of_batches(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    batch_size: int,
    n_negatives: int,
    generator: np.random.Generator,
) -> list[list[Example]]:
    """One epoch of examples in random order: a caption's reference and a query's negatives are
    drawn anew. Raises SteeringError for an instance without a target."""
    examples = [
        example
        for instance in instances
        for example in _examples(evaluator, instance, n_negatives, generator)
    ]
    shuffled = [examples[index] for index in generator.permutation(len(examples))]
    return [shuffled[at : at + batch_size] for at in range(0, len(shuffled), batch_size)]


def first_examples(evaluator: Evaluator, instances: Sequence[Instance]) -> list[Example]:
    """One example of each instance: its first target, for retrieval Yes to the positive."""
    task = evaluator.task
    if task.KIND != "ranking":
        return [Example(instance, _targets(evaluator, instance)[0]) for instance in instances]
    return [_positive(evaluator, instance) for instance in instances]


def target_with_stop(evaluator: Evaluator, example: Example) -> list[int]:
    """Token ids of an example's target in context, the end of sequence included.

    Raises SteeringError if the target is empty, ModelError if it has no tokens of its own.
    """
    if not example.target.strip():
        raise SteeringError(
            f"the target of {example.instance.instance_id} is empty: nothing can be learned from it"
        )
    text = evaluator.text(example.instance, example.candidate)
    ids = evaluator.adapter.answer_ids(text, example.target)
    return [*ids, evaluator.adapter.tokenizer.eos_token_id]


def _examples(
    evaluator: Evaluator, instance: Instance, n_negatives: int, generator: np.random.Generator
) -> list[Example]:
    task = evaluator.task
    if task.KIND != "ranking":
        texts = _targets(evaluator, instance)  # caption: one random reference an epoch
        return [Example(instance, texts[generator.integers(len(texts))])]
    negatives = [i for i in range(len(instance.candidates)) if i != instance.positive_index]
    drawn = generator.choice(negatives, min(n_negatives, len(negatives)), replace=False)
    return [
        _positive(evaluator, instance),
        *(Example(instance, task.NEGATIVE_WORD, instance.candidates[index]) for index in drawn),
    ]


def _positive(evaluator: Evaluator, instance: Instance) -> Example:
    return Example(instance, evaluator.task.POSITIVE_WORD, instance.positive_candidate)


def _targets(evaluator: Evaluator, instance: Instance) -> list[str]:
    texts = evaluator.task.targets(instance)
    if not texts:
        raise SteeringError(f"{instance.instance_id} has no target: nothing can be learned from it")
    return texts
