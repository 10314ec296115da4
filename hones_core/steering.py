"""Steering: one learned scale per neuron of a bank, backbone frozen (paper 4.3, METHOD 10)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hones_core.engine.cached import CachedTargets
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import Intervention, ScaleNeurons, applied
from hones_core.engine.memory import most_that_fit
from hones_core.engine.plain import Forced, force, forced_logits
from hones_core.masking import outcomes_under, prediction_row
from hones_core.models.adapter import Batch
from hones_core.neuron_sets import NeuronSet, members
from hones_core.progress import progress
from hones_core.tasks.instances import Instance


class SteeringError(Exception):
    """Steering that cannot start or that diverged."""


@dataclass(frozen=True)
class Training:
    """How scales are learned; the defaults are the paper's."""

    learning_rate: float = 5e-4
    epochs: int = 2
    batch_size: int = 4
    kl_weight: float = 0.05
    l2_weight: float = 1e-5
    clip_norm: float = 1.0
    max_abs_scale: float = 1.5
    allow_sign_flip: bool = True
    negatives_per_query: int = 4
    seed: int = 0


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


class Bank:
    """The steered neurons in fixed order, and their scales as one vector."""

    def __init__(self, neurons: NeuronSet):
        if not neurons:
            raise SteeringError("the bank is empty: there is no neuron to steer")
        self.neurons = sorted(neurons)

    def intervention(self, scales: Tensor) -> Intervention:
        """Multiply neuron k of the bank by 1 + scales[k]."""
        by_layer: dict[int, list[int]] = {}
        for place, (layer, _) in enumerate(self.neurons):
            by_layer.setdefault(layer, []).append(place)
        return ScaleNeurons(
            {
                layer: (
                    torch.tensor([self.neurons[place][1] for place in places]).to(scales.device),
                    scales[places],
                )
                for layer, places in by_layer.items()
            }
        )

    def frame(self, method: str, scales: Sequence[float]) -> pd.DataFrame:
        """The bank's rows of the STEERING_SCALES artifact."""
        layers, neurons = zip(*self.neurons, strict=True)
        return pd.DataFrame(
            {"method": method, "layer": layers, "neuron": neurons, "scale": list(scales)}
        )


def learn_scales(
    evaluator: Evaluator, instances: Sequence[Instance], bank: Bank, training: Training
) -> tuple[list[float], pd.DataFrame]:
    """Learn the bank's scales on the instances; returns them and the STEERING_CURVE artifact.

    Loss: cross-entropy of the target tokens, end of sequence included (mean over tokens), plus
    kl_weight x KL(unsteered ‖ steered) over the same positions (mean over positions), plus
    l2_weight x Σ s². Raises SteeringError for fewer instances than a batch, and when the loss or
    its gradient is no longer finite.
    """
    if len(instances) < training.batch_size:
        raise SteeringError(
            f"{len(instances)} development instances are fewer than one batch of "
            f"{training.batch_size}"
        )
    cache = cached_targets(evaluator, bank) if evaluator.engine == "fast" else None
    scales = torch.zeros(len(bank.neurons), device=evaluator.adapter.device, requires_grad=True)
    optimiser = torch.optim.AdamW([scales], lr=training.learning_rate, weight_decay=0.0)
    generator = np.random.default_rng(training.seed)
    batches = [
        batch
        for _ in range(training.epochs)
        for batch in _batches(evaluator, instances, training, generator)
    ]
    curve, at_once = [], training.batch_size
    for step, batch in enumerate(
        progress(batches, f"{evaluator.task_name} steering", size=len, unit="samples")
    ):
        rate = cosine_to_tenth(training.learning_rate, step, len(batches))
        optimiser.param_groups[0]["lr"] = rate
        backward = partial(_backward, evaluator, bank, scales, batch, cache, training)
        losses, at_once = most_that_fit(min(at_once, len(batch)), backward, "examples at once")
        loss, cross_entropy, kl, l2 = losses
        norm = torch.nn.utils.clip_grad_norm_([scales], training.clip_norm)
        if not torch.isfinite(loss + norm):
            raise SteeringError(
                f"at step {step} the loss is {loss} and the norm of its gradient "
                f"{norm.item()}; lower the learning rate or use another dtype"
            )
        optimiser.step()
        with torch.no_grad():
            low = -training.max_abs_scale
            scales.clamp_(low if training.allow_sign_flip else max(-1, low), training.max_abs_scale)
        curve.append(
            {
                "step": step,
                "cross_entropy": cross_entropy,
                "kl": kl,
                "l2": l2,
                "learning_rate": rate,
                "max_abs_scale": scales.detach().abs().max().item(),
            }
        )
    return scales.detach().double().tolist(), pd.DataFrame(curve)


def _backward(
    evaluator: Evaluator,
    bank: Bank,
    scales: Tensor,
    batch: Sequence[Example],
    cache: CachedTargets | None,
    training: Training,
    at_once: int,
) -> tuple[float, float, float, float]:
    """Leave the gradient of a batch's loss in `scales.grad`, from `at_once` examples at a time.

    Returns loss, cross-entropy, KL and L2. However the batch is divided, every target token counts
    the same.
    """
    scales.grad = None
    lengths = [len(target_with_stop(evaluator, example)) for example in batch]
    l2 = scales.square().sum()
    (training.l2_weight * l2).backward()
    means = [0.0, 0.0]
    for start in range(0, len(batch), at_once):
        own = slice(start, start + at_once)
        share = sum(lengths[own]) / sum(lengths)
        cross_entropy, kl = loss_terms(evaluator, bank, scales, batch[own], cache)
        (share * (cross_entropy + training.kl_weight * kl)).backward()
        means[0] += share * cross_entropy.item()
        means[1] += share * kl.item()
    loss = means[0] + training.kl_weight * means[1] + training.l2_weight * l2.item()
    return loss, *means, l2.item()


def cached_targets(evaluator: Evaluator, bank: Bank) -> CachedTargets:
    """The states below the bank's first layer, and the teacher's, computed once per example."""

    def encode(asked: Sequence[Asked]) -> Batch:
        return evaluator.encode([one.instance for one in asked], [one.candidate for one in asked])

    return CachedTargets(evaluator.adapter, bank.neurons[0][0], encode)


def loss_terms(
    evaluator: Evaluator,
    bank: Bank,
    scales: Tensor,
    examples: Sequence[Example],
    cache: CachedTargets | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and KL of a batch in nat (means over target tokens), differentiable in scales.

    With a `cache`, which must be the bank's, only the layers from its first one on are run. Raises
    FloatingPointError if a logit is not finite.
    """
    adapter, steered = evaluator.adapter, bank.intervention(scales)
    if cache is None:
        with torch.no_grad():
            forced = _forced(evaluator, examples)
            teacher = forced_logits(adapter, forced).log_softmax(-1)
        with applied(adapter, steered):
            student = forced_logits(adapter, forced).log_softmax(-1)
    else:
        forced = cache.batch([(Asked.of(e), target_with_stop(evaluator, e)) for e in examples])
        teacher = cache.teacher_logits(forced).log_softmax(-1)
        with applied(adapter, steered):
            student = cache.logits(forced).log_softmax(-1)
    ids, mask = (part.to(student.device) for part in (forced.target_ids, forced.target_mask))
    tokens = student.gather(-1, ids[..., None]).squeeze(-1)
    kl = (teacher.exp() * (teacher - student)).sum(-1)
    return -tokens[mask].mean(), kl[mask].mean()


def cosine_to_tenth(rate: float, step: int, steps: int) -> float:
    """Learning rate of a step: cosine from `rate` to a tenth of it."""
    share = step / max(1, steps - 1)
    return rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def predict_steered(
    evaluator: Evaluator, instances: Sequence[Instance], scales: pd.DataFrame
) -> pd.DataFrame:
    """The STEERED_PREDICTIONS artifact: base, and every method of a STEERING_SCALES artifact.

    z is multiplied by 1 + scale at all positions.
    """
    interventions: dict[str, Intervention | None] = {"base": None}
    for method, rows in scales.groupby("method"):
        neurons = zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)
        bank = Bank(frozenset(neurons))
        ordered = rows.sort_values(["layer", "neuron"])["scale"].tolist()
        interventions[method] = bank.intervention(
            torch.tensor(ordered, device=evaluator.adapter.device)
        )
    results = outcomes_under(evaluator, instances, interventions)
    return pd.DataFrame(
        {"method": method, **prediction_row(outcome)} for method, outcome in results
    )


def choose_bank(
    task: str,
    groups: pd.DataFrame,
    dominant: pd.DataFrame,
    ranking: pd.DataFrame,
    size: int | None,
    without_shared_group: str,
) -> tuple[NeuronSet, str]:
    """The task's bank and the name of where it comes from.

    The bank is the dominant group, cut to its `size` best neurons in the task's own HONES order.
    A task that shares no neuron with another has no dominant group; then `without_shared_group`
    says what to do: 'refuse' or 'specific_group' (its own neurons). Raises SteeringError when the
    bank is empty or refused.
    """
    group = dominant.loc[dominant["task"] == task, "group"].item()
    if not group:
        if without_shared_group == "refuse":
            raise SteeringError(
                f"{task} shares no neuron with another task, so it has no dominant group; set "
                "steering.bank_without_shared_group to specific_group to steer its own neurons"
            )
        group = task
    neurons = members(groups, group)
    if not neurons:
        raise SteeringError(f"the group {group!r} of {task} is empty: there is no neuron to steer")
    rows = ranking[(ranking["ranker"] == "hones") & (ranking["seed"] == 0)].sort_values("rank")
    ordered = zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)
    return frozenset([neuron for neuron in ordered if neuron in neurons][:size]), group


def _batches(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    training: Training,
    generator: np.random.Generator,
) -> list[list[Example]]:
    """One epoch of examples in random order."""
    examples = [
        example
        for instance in instances
        for example in _examples(evaluator, instance, training.negatives_per_query, generator)
    ]
    shuffled = [examples[index] for index in generator.permutation(len(examples))]
    size = training.batch_size
    return [shuffled[start : start + size] for start in range(0, len(shuffled), size)]


def _examples(
    evaluator: Evaluator, instance: Instance, n_negatives: int, generator: np.random.Generator
) -> list[Example]:
    task = evaluator.task
    if task.KIND != "ranking":
        texts = task.targets(instance)  # caption: one random reference an epoch
        return [Example(instance, texts[generator.integers(len(texts))])]
    positive = instance.positive_index
    negatives = [i for i in range(len(instance.candidates)) if i != positive]
    drawn = generator.choice(negatives, min(n_negatives, len(negatives)), replace=False)
    return [
        Example(instance, task.POSITIVE_WORD, instance.candidates[positive]),
        *(Example(instance, task.NEGATIVE_WORD, instance.candidates[index]) for index in drawn),
    ]


def target_with_stop(evaluator: Evaluator, example: Example) -> list[int]:
    """Token ids of an example's target in context, the end of sequence included."""
    text = evaluator.text(example.instance, example.candidate)
    ids = evaluator.adapter.answer_ids(text, example.target)
    return [*ids, evaluator.adapter.tokenizer.eos_token_id]


def _forced(evaluator: Evaluator, examples: Sequence[Example]) -> Forced:
    instances = [example.instance for example in examples]
    batch = evaluator.encode(instances, [example.candidate for example in examples])
    targets = [target_with_stop(evaluator, example) for example in examples]
    return force(evaluator.adapter, batch, targets)
