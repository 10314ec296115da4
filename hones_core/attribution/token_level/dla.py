"""Direct logit attribution of every neuron (METHOD 6)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hones_core.attribution.neuron_effects import write_in_weights
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


def measure_dla(evaluator: Evaluator, instances: Sequence[Instance]) -> pd.DataFrame:
    """The DLA_SCORES artifact: the mean over the instances of each neuron's attribution.

    One forward pass an instance.
    """
    adapter = evaluator.adapter
    total = np.zeros((adapter.n_layers, adapter.n_neurons))
    chunks = evaluator.prompt_chunks(instances)
    with torch.inference_mode():
        for chunk in progress(chunks, f"{evaluator.task_name} DLA", size=len, unit="samples"):
            targets = first_target_ids(evaluator, chunk)
            total += summed(direct_attributions(adapter, evaluator.encode(chunk), targets))
    return neuron_frame(len(instances), attribution=total / len(instances))


def direct_attributions(adapter: Adapter, batch: Batch, targets: Tensor) -> Tensor:
    """z_i ⟨γ ⊙ W_{:,i} / rms, U[y_1]⟩ at the last prompt token, [B, L, m] in float32.

    rms is that of the run's own final residual: the final norm is a constant factor.
    """
    norm = adapter.language_model.norm
    with (
        recorded_inputs([norm]) as final,
        recorded_activations(adapter, at_last_position) as records,
    ):
        adapter.hidden_states(batch)
    device = norm.weight.device
    rows = adapter.unembedding[targets.to(adapter.unembedding.device)].float()
    directions = norm.weight.float() * rows.to(device)
    directions = directions * inverse_rms(norm, final[0].to(device))
    return torch.stack(records, dim=1) * write_in_weights(adapter, directions)
