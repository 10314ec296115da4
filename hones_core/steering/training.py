"""Learning the scales of a bank: loss, gradient, optimiser, and when to stop with an error."""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from torch import Tensor

from hones_core.engine.cached import CachedBatch, CachedTargets
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import applied
from hones_core.engine.memory import most_that_fit
from hones_core.engine.plain import Forced, force, forced_logits
from hones_core.models.adapter import Batch
from hones_core.partial import Parts
from hones_core.progress import progress
from hones_core.steering.bank import Bank, SteeringError
from hones_core.steering.examples import Asked, Example, epoch_of_batches, target_with_stop
from hones_core.tasks.instances import Instance

# Learning diverges when the mean over the last steps has gone this far from that of the first.
WINDOW = 8  # steps
MOST_RISE = 2.0  # nat of cross-entropy per target token
MOST_KL = 5.0  # nat per target token, where KL is part of the loss


@dataclass(frozen=True)
class Training:
    """How scales are learned; the defaults are the paper's. `max_steps`: None for all of them."""

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
    max_steps: int | None = None

    @property
    def lowest_scale(self) -> float:
        """Where scales are clamped from below: 1 + s stays positive if signs may not flip."""
        return -self.max_abs_scale if self.allow_sign_flip else max(-1.0, -self.max_abs_scale)


def learn_scales(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    bank: Bank,
    training: Training,
    cache: CachedTargets | None = None,
    parts: Parts | None = None,
) -> tuple[list[float], pd.DataFrame]:
    """Learn the bank's scales on the instances; returns them and the rows of STEERING_CURVE but for
    method and seed.

    Loss: cross-entropy of the target tokens, end of sequence included (mean over tokens), plus
    kl_weight x KL(unsteered ‖ steered) over the same positions (mean over positions), plus
    l2_weight x Σ s². A `cache` that is given must begin at the bank's first layer or below; `parts`
    keeps the state of the optimiser from time to time, for a job that may be killed. Raises
    SteeringError for fewer instances than a batch, when the loss or its gradient is no longer
    finite, and when learning diverges.
    """
    if len(instances) < training.batch_size:
        raise SteeringError(
            f"{len(instances)} development instances are fewer than one batch of "
            f"{training.batch_size}"
        )
    if cache is None and evaluator.engine == "fast":
        cache = cached_targets(evaluator, bank)
    batches = _batches(evaluator, instances, training)
    state = _State(evaluator, bank, training)
    parts = parts or Parts()
    key = [asdict(training), bank.neurons, [one.instance_id for one in instances]]
    state.restore(parts.load("state", key))
    restored, last, at_once = len(state.curve), time.monotonic(), training.batch_size
    label = f"{evaluator.task_name} steering"
    kept = sum(map(len, batches[:restored]))
    watched = progress(batches, label, size=len, unit="samples", kept=lambda: kept)
    for step, batch in enumerate(watched):
        if step < restored:
            if cache is not None and restored < len(batches):
                states_of(evaluator, batch, cache)  # in the same company, hence to the same bits
            continue
        rate = cosine_to_tenth(training.learning_rate, step, len(batches))
        backward = partial(_backward, evaluator, bank, state.scales, batch, cache, training)
        size = min(at_once, len(batch))
        losses, fitting = most_that_fit(size, backward, "examples at once")
        at_once = fitting if fitting < size else at_once
        state.step(rate, *losses)
        _check_course(state.curve, training)
        if time.monotonic() - last >= parts.every_seconds or step == len(batches) - 1:
            parts.save("state", key, state.table())
            last = time.monotonic()
    return state.scales.detach().double().tolist(), pd.DataFrame(state.curve)


class _State:
    """Scales, optimiser and curve: all that a step changes."""

    def __init__(self, evaluator: Evaluator, bank: Bank, training: Training):
        device = evaluator.adapter.device
        self.training = training
        self.scales = torch.zeros(len(bank), device=device, requires_grad=True)
        self.optimiser = torch.optim.AdamW([self.scales], training.learning_rate, weight_decay=0.0)
        self.curve: list[dict[str, float]] = []

    def step(self, rate: float, loss: float, cross_entropy: float, kl: float, l2: float) -> None:
        """One step along the gradient in `scales.grad`, and its row of the curve."""
        training, at = self.training, len(self.curve)
        norm = torch.nn.utils.clip_grad_norm_([self.scales], training.clip_norm)
        if not torch.isfinite(loss + norm):
            raise SteeringError(
                f"at step {at} the loss is {loss} and the norm of its gradient "
                f"{norm.item()}; lower the learning rate or use another dtype"
            )
        self.optimiser.param_groups[0]["lr"] = rate
        self.optimiser.step()
        with torch.no_grad():
            self.scales.clamp_(training.lowest_scale, training.max_abs_scale)
        largest = self.scales.detach().abs().max().item()
        terms = {"cross_entropy": cross_entropy, "kl": kl, "l2": l2}
        row = {"step": at, **terms, "learning_rate": rate, "max_abs_scale": largest}
        self.curve.append(row)

    def table(self) -> pa.Table:
        """All of it as a table, float32 numbers exactly, for `restore`."""
        moments = self.optimiser.state[self.scales]
        values = {name: moments[name].tolist() for name in ("exp_avg", "exp_avg_sq")}
        values["scales"] = self.scales.detach().tolist()
        columns = {f"curve.{name}": [row[name] for row in self.curve] for name in self.curve[0]}
        every = {**values, **columns}
        return pa.table(
            {"name": list(every), "values": [list(map(float, v)) for v in every.values()]}
        )

    def restore(self, table: pa.Table | None) -> None:
        """Go on from a table of `table`, or from the start if there is none."""
        if table is None:
            return
        found = dict(zip(table["name"].to_pylist(), table["values"].to_pylist(), strict=True))
        columns = {
            name.removeprefix("curve."): values
            for name, values in found.items()
            if name.startswith("curve.")
        }
        rows = zip(*columns.values(), strict=True)
        self.curve = [dict(zip(columns, row, strict=True)) for row in rows]
        for row in self.curve:
            row["step"] = int(row["step"])
        with torch.no_grad():
            self.scales.copy_(torch.tensor(found["scales"]))
        self.optimiser.state[self.scales] = {
            "step": torch.tensor(float(len(self.curve))),
            **{
                name: torch.tensor(found[name], device=self.scales.device)
                for name in ("exp_avg", "exp_avg_sq")
            },
        }


def _check_course(curve: Sequence[dict[str, float]], training: Training) -> None:
    """Raise SteeringError once cross-entropy or KL have risen far above the start."""
    if len(curve) <= WINDOW:
        return
    start, now = (
        {name: float(np.mean([row[name] for row in rows])) for name in ("cross_entropy", "kl")}
        for rows in (curve[:WINDOW], curve[-WINDOW:])
    )
    advice = "lower steering.learning_rate or steering.max_abs_scale"
    where = f"learning diverges: at step {len(curve) - 1} the mean"
    if now["cross_entropy"] > start["cross_entropy"] + MOST_RISE:
        raise SteeringError(
            f"{where} cross-entropy of the last {WINDOW} steps is {now['cross_entropy']:.2f} nat, "
            f"after {start['cross_entropy']:.2f} at the start; {advice}"
        )
    if training.kl_weight > 0 and now["kl"] > start["kl"] + MOST_KL:
        raise SteeringError(
            f"{where} KL of the last {WINDOW} steps is {now['kl']:.2f} nat, after "
            f"{start['kl']:.2f} at the start; {advice}, or raise steering.kl_weights"
        )


def _batches(
    evaluator: Evaluator, instances: Sequence[Instance], training: Training
) -> list[list[Example]]:
    """All steps' batches, drawn at once: they depend on seed, instances and sizes alone."""
    generator = np.random.default_rng(training.seed)
    sizes = (training.batch_size, training.negatives_per_query)
    batches = [
        batch
        for _ in range(training.epochs)
        for batch in epoch_of_batches(evaluator, instances, *sizes, generator)
    ]
    return batches[: training.max_steps]


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
    return loss, means[0], means[1], l2.item()


def cached_targets(evaluator: Evaluator, bank: Bank) -> CachedTargets:
    """The states below the bank's first layer, and the teacher's, computed once per example."""

    def encode(asked: Sequence[Any]) -> Batch:
        return evaluator.encode([one.instance for one in asked], [one.candidate for one in asked])

    return CachedTargets(evaluator.adapter, bank.neurons[0][0], encode)


def states_of(
    evaluator: Evaluator, examples: Sequence[Example], cache: CachedTargets
) -> CachedBatch:
    """The cached states of some examples, computed together where they are not there yet."""
    return cache.batch([(Asked.of(e), target_with_stop(evaluator, e)) for e in examples])


def loss_terms(
    evaluator: Evaluator,
    bank: Bank,
    scales: Tensor,
    examples: Sequence[Example],
    cache: CachedTargets | None = None,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy and KL of a batch in nat (means over target tokens), differentiable in scales.

    With a `cache`, which must begin at the bank's first layer or below, only the layers from its
    first one on are run. Raises FloatingPointError if a logit is not finite.
    """
    logprobs, kl, mask = token_terms(evaluator, bank, scales, examples, cache)
    return -logprobs[mask].mean(), kl[mask].mean()


def token_terms(
    evaluator: Evaluator,
    bank: Bank,
    scales: Tensor,
    examples: Sequence[Example],
    cache: CachedTargets | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability of each target token and KL(unsteered ‖ steered) at its position, [B, A] in
    nat, and the mask [B, A] of the real ones. Otherwise as `loss_terms`."""
    adapter, steered = evaluator.adapter, bank.intervention(scales)
    found: Forced | CachedBatch
    if cache is None:
        with torch.no_grad():
            found = forced = _forced(evaluator, examples)
            teacher = forced_logits(adapter, forced).log_softmax(-1)
        with applied(adapter, steered):
            student = forced_logits(adapter, forced).log_softmax(-1)
    else:
        found = states = states_of(evaluator, examples, cache)
        teacher = cache.teacher_logits(states).log_softmax(-1)
        with applied(adapter, steered):
            student = cache.logits(states).log_softmax(-1)
    ids, mask = (part.to(student.device) for part in (found.target_ids, found.target_mask))
    logprobs = student.gather(-1, ids[..., None]).squeeze(-1)
    return logprobs, (teacher.exp() * (teacher - student)).sum(-1), mask


def cosine_to_tenth(rate: float, step: int, steps: int) -> float:
    """Learning rate of a step: cosine from `rate` to a tenth of it."""
    share = step / max(1, steps - 1)
    return rate * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * share)))


def _forced(evaluator: Evaluator, examples: Sequence[Example]) -> Forced:
    instances = [example.instance for example in examples]
    batch = evaluator.encode(instances, [example.candidate for example in examples])
    targets = [target_with_stop(evaluator, example) for example in examples]
    return force(evaluator.adapter, batch, targets)
