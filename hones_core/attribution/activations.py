"""Activation statistics of every neuron, from which MA, AP and APE are ranked (METHOD 6)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import at_last_position, recorded_activations
from hones_core.progress import progress
from hones_core.tasks.instances import Instance

AGGREGATES = ("mean", "last")


def measure_activations(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    aggregate: str = "mean",
    activation: str = "z",
    threshold: float = 0.0,
) -> pd.DataFrame:
    """The ACTIVATION_STATISTICS artifact over the prompts of the instances.

    Per sample, z̄_i is the mean over the prompt's positions (`aggregate` 'mean') or the value at
    the last one ('last'); `activation` 'z' is the input of down_proj, 'gate' act(gate(x)). AP
    counts z̄_i > threshold. Raises ValueError for another aggregate or activation.
    """
    if aggregate not in AGGREGATES:
        raise ValueError(f"unknown aggregate {aggregate!r}; known: {AGGREGATES}")
    adapter = evaluator.adapter
    sums = np.zeros((3, adapter.n_layers, adapter.n_neurons))  # z̄, |z̄|, 1[z̄ > threshold]
    chunks = evaluator.prompt_chunks(instances)
    with torch.inference_mode():
        label = f"{evaluator.task_name} activations"
        for chunk in progress(chunks, label, size=len, unit="samples"):
            batch = evaluator.encode(chunk)
            mask = batch.attention_mask

            def reduce(z: Tensor, mask: Tensor = mask) -> Tensor:
                return at_last_position(z) if aggregate == "last" else masked_mean(z, mask)

            with recorded_activations(adapter, reduce, activation) as records:
                adapter.hidden_states(batch)
            mean = torch.stack(records, dim=1).double()
            for row, values in enumerate((mean, mean.abs(), (mean > threshold).double())):
                sums[row] += values.sum(0).cpu().numpy()
    sums /= len(instances)
    layer, neuron = np.indices(sums.shape[1:])
    return pd.DataFrame(
        {
            "layer": layer.ravel(),
            "neuron": neuron.ravel(),
            "mean_activation": sums[0].ravel(),
            "mean_absolute": sums[1].ravel(),
            "active_fraction": sums[2].ravel(),
            "n_samples": len(instances),
        }
    )


def masked_mean(z: Tensor, mask: Tensor) -> Tensor:
    """Mean of z [B, T, m] over the positions where mask [B, T] is 1, in float32."""
    weights = (mask.float() / mask.sum(-1, keepdim=True)).to(z.device)
    return torch.einsum("btm,bt->bm", z.float(), weights)
