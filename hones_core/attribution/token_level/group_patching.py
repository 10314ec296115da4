"""Patching groups of neurons between a clean and a corrupted run (METHOD 6)."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import torch
from torch import Tensor

from hones_core.attribution.token_level.corruption import Corrupter, Corruption
from hones_core.attribution.token_level.last_position import (
    ChangedActivations,
    LastPosition,
    first_target_ids,
)
from hones_core.engine.activations import last_token_activations
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import applied
from hones_core.models.adapter import Adapter
from hones_core.progress import progress
from hones_core.tasks.instances import Instance

Bounds = list[tuple[int, int]]  # first neuron and number of neurons of each group


def measure_group_patching(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    groups_per_layer: int = 10,
    corruption: Corruption | None = None,
) -> pd.DataFrame:
    """The GROUP_PATCHING_EFFECTS artifact: the effect of each group on each instance.

    For each instance the clean and the corrupted prompt are run once, and the clean one's last
    token (groups + 1) times a layer.
    """
    adapter = evaluator.adapter
    bounds = group_bounds(adapter.n_neurons, groups_per_layer)
    frames = []
    with torch.inference_mode():
        corrupter = Corrupter(evaluator, instances, corruption or Corruption())
        chunks = evaluator.prompt_chunks(instances)
        for chunk in progress(
            chunks, f"{evaluator.task_name} group patching", size=len, unit="samples"
        ):
            targets = first_target_ids(evaluator, chunk)
            clean = evaluator.encode(chunk)
            corrupted = last_token_activations(adapter, corrupter.batch(chunk, clean))
            last = LastPosition.of(adapter, clean)
            for layer in range(adapter.n_layers):
                effects = group_effects(
                    last, layer, corrupted[:, layer], targets, bounds, evaluator.batch_size
                )
                frames.append(_frame(chunk, layer, bounds, effects))
    return pd.concat(frames, ignore_index=True)


def group_bounds(n_neurons: int, groups: int) -> Bounds:
    """Contiguous groups as even as possible: (first neuron, number of neurons).

    Raises ValueError if there are more groups than neurons.
    """
    if not 0 < groups <= n_neurons:
        raise ValueError(f"groups_per_layer is {groups}, but a layer has {n_neurons} neurons")
    edges = [group * n_neurons // groups for group in range(groups + 1)]
    return [(first, stop - first) for first, stop in pairwise(edges)]


def group_effects(
    last: LastPosition,
    layer: int,
    corrupted: Tensor,
    targets: Tensor,
    bounds: Bounds,
    rows_at_once: int,
) -> Tensor:
    """Clean less patched logit of y_1, [B, G], with each group's z taken from `corrupted` [B, m].

    Positive where the clean activations of the group raise the answer's logit. The unpatched logit
    is of the same kind of pass, so that rounding is alike.
    """
    adapter: Adapter = last.adapter
    corrupted = corrupted.to(adapter.layer_device(layer))
    targets = targets.to(adapter.unembedding.device)
    n = len(bounds) + 1  # the first row of each instance is not patched
    patched = torch.zeros(n, corrupted.shape[-1], dtype=torch.bool, device=corrupted.device)
    for row, (first, size) in enumerate(bounds, start=1):
        patched[row, first : first + size] = True
    all_rows = torch.arange(len(corrupted) * n, device=adapter.device)
    logits = []
    for rows in all_rows.split(rows_at_once):
        owner = rows // n
        there = rows.to(corrupted.device)

        def patching(z: Tensor, rows: Tensor = there) -> Tensor:
            return patch(z, corrupted[rows // n], patched[rows % n])

        change = ChangedActivations(layer, patching)
        with applied(adapter, change):
            found = adapter.logits(last.hidden(owner))
        own = targets[owner.to(targets.device), None]
        logits.append(found.gather(-1, own).squeeze(-1))
    by_instance = torch.cat(logits).unflatten(0, (-1, n))
    return by_instance[:, :1] - by_instance[:, 1:]


def patch(z: Tensor, other: Tensor, where: Tensor) -> Tensor:
    """z [R, 1, m] with the activations of `other` [R, m] where the mask [R, m] is true."""
    return torch.where(where[:, None], other[:, None].to(z.dtype), z)


def _frame(
    instances: Sequence[Instance], layer: int, bounds: Bounds, effects: Tensor
) -> pd.DataFrame:
    rows = [
        (layer, first, size, instance.instance_id, effect)
        for instance, of_instance in zip(instances, effects.tolist(), strict=True)
        for (first, size), effect in zip(bounds, of_instance, strict=True)
    ]
    return pd.DataFrame(
        rows, columns=["layer", "first_neuron", "n_neurons", "instance_id", "effect"]
    )
