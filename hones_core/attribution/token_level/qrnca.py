"""Integrated gradients of the answer's probability over the neurons of each layer (METHOD 6)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hones_core.attribution.token_level.frames import neuron_frame, summed
from hones_core.attribution.token_level.last_position import (
    ChangedActivations,
    LastPosition,
    first_target_ids,
)
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import applied
from hones_core.models.adapter import Adapter, Batch
from hones_core.progress import progress
from hones_core.tasks.instances import Instance

GRADIENT_SCALE = 1024.0  # keeps half-precision gradients from vanishing; exact, as a power of two


def measure_qrnca(
    evaluator: Evaluator, instances: Sequence[Instance], steps: int = 20, threshold: float = 0.2
) -> pd.DataFrame:
    """The QRNCA_SCORES artifact: attributions, and in how many queries each neuron stands out.

    A neuron stands out in a query if its attribution is at least `threshold` of the query's largest
    over all layers. For each instance the prompt is run once, and its last token `steps` times a
    layer, forwards and backwards.
    """
    adapter = evaluator.adapter
    shape = (adapter.n_layers, adapter.n_neurons)
    total, above, occurrences = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.int64)
    chunks = evaluator.prompt_chunks(instances)
    for chunk in progress(
        chunks, f"{evaluator.task_name} integrated gradients", size=len, unit="samples"
    ):
        targets = first_target_ids(evaluator, chunk)
        with torch.no_grad():
            batch = evaluator.encode(chunk)
        found = attributions(adapter, batch, targets, steps, evaluator.batch_size)
        standing_out = stands_out(found, threshold)
        total += summed(found)
        above += summed(found * standing_out)
        occurrences += standing_out.sum(0).cpu().numpy()
    n = len(instances)
    return neuron_frame(
        n, attribution=total / n, attribution_above=above / n, occurrences=occurrences
    )


def attributions(
    adapter: Adapter, batch: Batch, targets: Tensor, steps: int, rows_at_once: int
) -> Tensor:
    """Integrated gradients of p(y_1) at the last prompt token, [B, L, m] in float32.

    `rows_at_once` limits the rows (instances x steps) of a forward and backward pass.
    """
    last = LastPosition.of(adapter, batch)
    activations = last.activations()
    layers = [
        integrated_gradients(last, layer, activations[:, layer], targets, steps, rows_at_once)
        for layer in range(adapter.n_layers)
    ]
    return torch.stack(layers, dim=1)


def integrated_gradients(
    last: LastPosition,
    layer: int,
    z: Tensor,
    targets: Tensor,
    steps: int,
    rows_at_once: int,
) -> Tensor:
    """z_i ∫_0^1 ∂p(y_1)/∂z_i (α z) dα of one layer, [B, m], from `steps` midpoints.

    The midpoint rule's error falls with the square of the number of steps, that of sums over the
    left or right ends only with the number.
    """
    adapter = last.adapter
    targets = targets.to(adapter.unembedding.device)
    owner = torch.arange(len(z), device=z.device).repeat_interleave(steps)
    alphas = ((torch.arange(steps, device=z.device) + 0.5) / steps).repeat(len(z))
    gradients = torch.zeros_like(z)
    for rows, alpha in zip(owner.split(rows_at_once), alphas.split(rows_at_once), strict=True):
        point = (alpha[:, None] * z[rows]).to(adapter.dtype).requires_grad_()

        def shifted(_z: Tensor, point: Tensor = point) -> Tensor:
            return point[:, None]

        change = ChangedActivations(layer, shifted)
        with torch.enable_grad(), applied(adapter, change):
            logits = adapter.logits(last.hidden(rows))
            wanted = targets[rows.to(targets.device), None]
            probability = logits.softmax(-1).gather(-1, wanted)
            (gradient,) = torch.autograd.grad((probability * GRADIENT_SCALE).sum(), point)
        gradients.index_add_(0, rows, gradient.float() / GRADIENT_SCALE)
    return z * gradients / steps


def stands_out(attribution: Tensor, threshold: float) -> Tensor:
    """Which neurons [B, L, m] reach `threshold` of their query's largest attribution.

    None of a query in which no attribution is positive.
    """
    largest = attribution.flatten(1).amax(1)[:, None, None]
    return (attribution >= threshold * largest) & (largest > 0)
