"""Write-in contributions of neurons, and their drop when a head is disrupted (METHOD 5)."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from hones_core.attribution.targets import InverseDocumentFrequency, target_direction
from hones_core.engine.activations import LastTokenActivations
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import GaussianHead, Intervention, MeanReplaceHead
from hones_core.engine.memory import run_in_halves
from hones_core.measuring import chunks_to_sum
from hones_core.models.adapter import Adapter, Batch
from hones_core.partial import Parts
from hones_core.schemas.heads import BASE
from hones_core.tasks.instances import Instance

CLIPS = ("per_sample", "after_mean")
Sums = dict[tuple[int, int], np.ndarray]  # of each head

# What disrupts a head (layer, head) of a batch, whose rows are the given instances.
Disruption = Callable[[int, int, Sequence[Instance], Batch], Intervention]


def mean_replacement(positions: str = "all") -> Disruption:
    """The head replaced by the mean of the layer's others (METHOD 4)."""
    return lambda layer, head, instances, batch: MeanReplaceHead(layer, head, positions)


def gaussian_noise(positions: str = "all", seed: int = 0) -> Disruption:
    """Noise of the head's own standard deviation (METHOD 6), drawn for each instance."""

    def disrupt(layer: int, head: int, instances: Sequence[Instance], batch: Batch) -> GaussianHead:
        samples = [instance.instance_id for instance in instances]
        return GaussianHead(layer, head, batch.attention_mask, samples, seed, positions)

    return disrupt


def write_in_weights(adapter: Adapter, directions: Tensor) -> Tensor:
    """⟨W^l_{:,i}, u_y⟩ for every neuron: [B, L, m] in float32 from directions [B, d].

    Each layer's share is computed on its device; the result lies where inputs go.
    """
    weights = [layer.mlp.down_proj.weight for layer in adapter.layers]
    layers = [directions.to(weight.device) @ weight.float() for weight in weights]
    return torch.stack([layer.to(adapter.device) for layer in layers], dim=1)


def target_directions(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    documents: Sequence[Instance],
    idf_tokens: str = "all",
) -> Tensor:
    """u_y of each instance, [N, d]; `documents` are what IDF counts over (open-ended tasks)."""
    token_ids = [evaluator.target_ids(instance) for instance in instances]
    idf = None
    if evaluator.task.TARGET_KIND == "open_ended":
        idf = InverseDocumentFrequency(
            [token for text in evaluator.target_ids(document) for token in text]
            for document in documents
        )
    unembedding = evaluator.adapter.unembedding
    return torch.stack([target_direction(unembedding, ids, idf, idf_tokens) for ids in token_ids])


def measure_neuron_effects(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    documents: Sequence[Instance],
    heads: Sequence[tuple[int, int]],
    clip: str = "per_sample",
    positions: str = "all",
    idf_tokens: str = "all",
    disruption: Disruption | None = None,
    parts: Parts | None = None,
) -> pd.DataFrame:
    """The NEURON_EFFECTS artifact: E[c] of the base run and E[c], E[Δc] for each head.

    `disruption` is what is done to a head: by default mean replacement at `positions`. `clip`
    'per_sample' gives E[max(0, c - c_h)], 'after_mean' max(0, E[c] - E[c_h]). Only layers from the
    disrupted head's on are stored: before it the drop is exactly 0. `documents` are all instances
    of the discovery split, over which document frequencies are counted. `parts` keeps the sums so
    far, for a job that may be killed; they are added in the same order in any case.
    """
    if clip not in CLIPS:
        raise ValueError(f"unknown clip {clip!r}; known: {', '.join(CLIPS)}")
    disruption = disruption or mean_replacement(positions)
    shape = (evaluator.adapter.n_layers, evaluator.adapter.n_neurons)
    sums = {head: np.zeros((2, *shape)) for head in [(BASE, BASE), *heads]}  # of c, of the drop
    with torch.inference_mode():
        directions = target_directions(evaluator, instances, documents, idf_tokens)
        towards = {one.instance_id: row for one, row in zip(instances, directions, strict=True)}

        def run(some: Sequence[Instance]) -> Sums:
            own = torch.stack([towards[one.instance_id] for one in some])
            with evaluator.named(some):
                return _sums_of(evaluator, some, own, heads, disruption)

        label = f"{evaluator.task_name} neuron effects, {len(heads)} heads"
        chunks = evaluator.prompt_chunks(instances)
        for _, chunk in chunks_to_sum(chunks, sums, label, parts):
            for found in run_in_halves(evaluator, chunk, run, len(heads)):
                for place, values in found.items():
                    sums[place] += values
    return _effects_frame(sums, len(instances), clip)


def _sums_of(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    directions: Tensor,
    heads: Sequence[tuple[int, int]],
    disruption: Disruption,
) -> Sums:
    """Sums over instances that are run together, of c and of its drop, each [2, L, m].

    Raises FloatingPointError if one of them is NaN or infinite.
    """
    activations = LastTokenActivations(evaluator, instances)
    weights = write_in_weights(evaluator.adapter, directions)
    base = activations.base * weights
    sums = {(BASE, BASE): np.stack([_sum(base), np.zeros(base.shape[1:])])}
    interventions = {place: disruption(*place, instances, activations.batch) for place in heads}
    for place, disrupted in activations.under(interventions):
        contribution = disrupted * weights
        drop = (base - contribution).clamp(min=0)
        sums[place] = np.stack([_sum(contribution), _sum(drop)])
    broken = [place for place, values in sums.items() if not np.isfinite(values).all()]
    if broken:
        raise FloatingPointError(
            f"some activations are NaN or infinite in {evaluator.adapter.dtype}, first with head "
            f"{broken[0]} disrupted ({BASE, BASE}: none); use float32 or bfloat16"
        )
    return sums


def _sum(values: Tensor) -> np.ndarray:
    return values.double().sum(0).cpu().numpy()


def _effects_frame(sums: dict[tuple[int, int], np.ndarray], n: int, clip: str) -> pd.DataFrame:
    base = sums[BASE, BASE][0] / n
    frames = []
    for (head_layer, head), (contribution, drop) in sums.items():
        mean = contribution / n
        if (head_layer, head) == (BASE, BASE):
            dropped = np.zeros_like(mean)
        else:
            dropped = drop / n if clip == "per_sample" else np.maximum(0, base - mean)
        layer, neuron = np.indices(mean.shape)
        frame = pd.DataFrame(
            {
                "head_layer": head_layer,
                "head": head,
                "layer": layer.ravel(),
                "neuron": neuron.ravel(),
                "contribution": mean.ravel(),
                "drop": dropped.ravel(),
            }
        )
        frames.append(frame[frame["layer"] >= head_layer])
    return pd.concat(frames, ignore_index=True)
