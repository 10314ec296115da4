"""What each neuron alone adds to the answer's log-probability, read at its layer (METHOD 6)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hones_core.attribution.token_level.frames import neuron_frame, summed
from hones_core.attribution.token_level.last_position import (
    first_target_ids,
    inverse_rms,
    recorded_inputs,
)
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import at_last_position, recorded_activations
from hones_core.models.adapter import Adapter, Batch
from hones_core.progress import progress
from hones_core.tasks.instances import Instance

VARIANCES = ("layer", "final")
BLOCK = 1 << 24  # most numbers of one block, vocabulary x neurons (64 MiB in float32)


def measure_llm_knowledge(
    evaluator: Evaluator, instances: Sequence[Instance], variance: str = "layer"
) -> pd.DataFrame:
    """The LLM_KNOWLEDGE_SCORES artifact: the mean over the instances of each neuron's increase.

    One forward pass an instance, then vocabulary x neurons exponentials a layer. `variance` as in
    `increases`.
    """
    adapter = evaluator.adapter
    total = np.zeros((adapter.n_layers, adapter.n_neurons))
    chunks = evaluator.prompt_chunks(instances)
    with torch.inference_mode():
        for chunk in progress(
            chunks, f"{evaluator.task_name} LLM-Knowledge", size=len, unit="samples"
        ):
            targets = first_target_ids(evaluator, chunk)
            total += summed(increases(adapter, evaluator.encode(chunk), targets, variance))
    return neuron_frame(len(instances), increase=total / len(instances))


def increases(
    adapter: Adapter, batch: Batch, targets: Tensor, variance: str = "layer", block: int = BLOCK
) -> Tensor:
    """log p(y_1 | r_l + z_i W_{:,i}) - log p(y_1 | r_l) at the last token, [B, L, m] in float32.

    r_l is the layer's input plus its attention output; p reads it through the final norm and U. The
    norm's variance is frozen: adding a neuron does not change it. It is that of r_l (`variance`
    'layer') or of the run's final residual ('final'). `block` bounds the memory.
    """
    if variance not in VARIANCES:
        raise ValueError(f"unknown variance {variance!r}; known: {', '.join(VARIANCES)}")
    norm = adapter.language_model.norm
    middles = [layer.post_attention_layernorm for layer in adapter.layers]
    with (
        recorded_inputs([*middles, norm]) as residuals,
        recorded_activations(adapter, at_last_position) as activations,
    ):
        adapter.hidden_states(batch)
    device = adapter.unembedding.device  # of the readout, to which a layer's share is moved
    *residuals, final = (residual.float().to(device) for residual in residuals)
    readout = adapter.unembedding.float() * norm.weight.float().to(device)  # [V, d]
    layers = []
    for layer, residual, z in zip(adapter.layers, residuals, activations, strict=True):
        scale = inverse_rms(norm, residual if variance == "layer" else final)
        logprobs = ((residual * scale) @ readout.T).log_softmax(-1)
        weight = layer.mlp.down_proj.weight.to(device).float()
        scaled = z.to(device) * scale
        layers.append(_layer_increases(readout, weight, scaled, logprobs, targets, block))
    return torch.stack(layers, dim=1)


def _layer_increases(
    readout: Tensor, weight: Tensor, z: Tensor, logprobs: Tensor, targets: Tensor, block: int
) -> Tensor:
    """The increases [B, m] of one layer, from z over the norm [B, m] and log p [B, V]."""
    found = torch.empty_like(z)
    size = max(1, block // len(readout))
    for start in range(0, z.shape[1], size):
        neurons = slice(start, start + size)
        written = readout @ weight[:, neurons]  # what each neuron writes to each logit, [V, c]
        for row, target in enumerate(targets.tolist()):
            change = written * z[row, neurons]
            normaliser = (change + logprobs[row, :, None]).logsumexp(0)  # p sums to 1: was 0
            found[row, neurons] = change[target] - normaliser
    return found
