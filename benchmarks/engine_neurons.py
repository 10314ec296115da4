"""Scoring and steering neurons three ways, for `benchmarks/engine.py`; see `engine_heads.py`."""

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from engine_work import Bench, Clock, Head, Round
from torch import Tensor

from hones_core.attribution.neuron_effects import target_directions, write_in_weights
from hones_core.engine.activations import LastTokenActivations
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import MeanReplaceHead, applied, recorded_activations
from hones_core.models.adapter import Adapter
from hones_core.steering.bank import Bank
from hones_core.steering.examples import Example, target_with_stop
from hones_core.steering.training import cached_targets, loss_terms
from hones_core.tasks.instances import Instance


def neuron_round(bench: Bench, number: int) -> Round:
    """Scores of all neurons for `neuron_heads` heads; seconds of a head, the base run's share in.

    Both ways make the same drops from activations at the last prompt token; the plain one runs the
    whole stock model for each. Compared is the choice of the top percent.
    """
    adapter, plan = bench.adapter, bench.plan
    evaluator = bench.evaluator("vqa")
    chunk = [bench.samples.of("vqa", plan.rows * number + row) for row in range(plan.rows)]
    images = evaluator.images(chunk)
    texts = [evaluator.text(one) for one in chunk]
    heads = bench.heads(plan.neuron_heads, number)
    clock, drops = Clock(adapter.device), {}
    with torch.inference_mode():
        weights = write_in_weights(adapter, target_directions(evaluator, chunk, chunk))

        def run_plain(some: Sequence[Head | None]) -> None:
            for head in some:
                change = applied(adapter, MeanReplaceHead(*head)) if head else nullcontext()
                with clock("plain"), change:
                    z = _stock_activations(adapter, images, texts)
                    drops[head] = drops[None] - z * weights if head else z * weights

        run_plain([None, *heads[::2]])
        with clock("fast"):
            total = _fast_drops(evaluator, chunk, heads, weights)
        run_plain(heads[1::2])
        traced_heads = bench.heads(plan.nnsight_heads, number) if bench.nnsight else []
        for head in traced_heads:
            with clock("nnsight"):
                drops[None] - bench.nnsight.activations(head, images, texts) * weights
    expected = sum(drops[head].clamp(min=0).sum(0) for head in heads)
    seconds = {name: clock.seconds[name] / len(heads) for name in ("plain", "fast")}
    if traced_heads:  # a base run for all heads, as the others have
        one = clock.seconds["nnsight"] / len(traced_heads)
        seconds["nnsight"] = one * (1 + 1 / len(heads))
    size = max(1, total.numel() // 100)
    mine, other = (set(part.flatten().topk(size).indices.tolist()) for part in (total, expected))
    more = {
        "base_share": seconds["plain"] / (1 + len(heads)),
        "columns": float(evaluator.encode(chunk).input_ids.shape[1]),
        "reads": 1.0,
    }

    def again() -> float:
        own = Clock(adapter.device)
        with torch.inference_mode(), own("fast"):
            _fast_drops(evaluator, chunk, heads, weights)
        return own.seconds["fast"] / len(heads)

    return Round(seconds, size, len(mine - other), more, again)


def _fast_drops(
    evaluator: Evaluator, chunk: Sequence[Instance], heads: Sequence[Head], weights: Tensor
) -> Tensor:
    """Drops of all neurons' contributions, summed over heads and samples, [L, m]."""
    activations = LastTokenActivations(evaluator, chunk)
    base, total = activations.base * weights, torch.zeros_like(weights[0])
    for _, disrupted in activations.under({head: MeanReplaceHead(*head) for head in heads}):
        total += (base - disrupted * weights).clamp(min=0).sum(0)
    return total


def _stock_activations(adapter: Adapter, images: list, texts: list[str]) -> Tensor:
    """z at the last prompt token, [B, L, m], by one forward of the whole stock model."""
    with recorded_activations(adapter, lambda z: z[:, -1].float()) as records:
        adapter.model.model(**adapter.inputs(images, texts), use_cache=False)
    return torch.stack(records, dim=1)


def steering_round(bench: Bench, number: int, lowest: int) -> Round:
    """Seconds of an epoch of `steps` steps; the bank is spread over the layers from `lowest` on.

    'plain' runs the teacher and the steered model, vision tower and all, in every step; 'filling'
    is the fast engine's first epoch, which fills its cache, and 'fast' a later one.
    """
    adapter, plan = bench.adapter, bench.plan
    evaluator = bench.evaluator("vqa")
    first = plan.batch * plan.steps * number
    examples = [_example(bench, first + place) for place in range(plan.batch * plan.steps)]
    batches = [examples[step :: plan.steps] for step in range(plan.steps)]
    rng = np.random.default_rng(number)
    layers = lowest + np.arange(plan.bank) % (adapter.n_layers - lowest)
    pairs = zip(
        layers.tolist(), rng.integers(adapter.n_neurons, size=plan.bank).tolist(), strict=True
    )
    bank = Bank(frozenset(pairs))
    clock = Clock(adapter.device)
    learned = {}
    cache = cached_targets(evaluator, bank)
    for name in ("filling", "plain", "fast"):
        scales = torch.zeros(len(bank.neurons), device=adapter.device, requires_grad=True)
        with clock(name):
            for batch in batches:
                own = None if name == "plain" else cache
                _step(scales, *loss_terms(evaluator, bank, scales, batch, own))
        learned[name] = scales.detach()
    if bench.nnsight:
        scales = torch.zeros(len(bank.neurons), device=adapter.device, requires_grad=True)
        targets = [target_with_stop(evaluator, example) for example in batches[0]]
        with clock("nnsight"):
            terms = bench.nnsight.loss_terms(evaluator, bank, scales, batches[0], targets)
            _step(scales, *terms)
        clock.seconds["nnsight"] *= plan.steps
    difference = (learned["plain"] - learned["fast"]).abs().max()
    return Round(clock.seconds, more={"largest_difference": float(difference)})


def _example(bench: Bench, number: int) -> Example:
    item = bench.samples.of("vqa", number)
    return Example(item, item.references[0])


def _step(scales: Tensor, cross_entropy: Tensor, kl: Tensor) -> None:
    """Plain gradient descent: unlike AdamW it does not blow up the noise of tiny gradients."""
    (gradient,) = torch.autograd.grad(cross_entropy + 0.05 * kl, scales)
    with torch.no_grad():
        scales -= 0.1 * gradient
