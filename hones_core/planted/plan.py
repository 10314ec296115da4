"""Where everything of a planted model stands, and so what is true of every head and neuron."""

from dataclasses import dataclass

import pandas as pd
import torch

from hones_core.planted.blind_spots import BLIND_SPOTS
from hones_core.planted.circuit import (
    HEADS,
    LAYERS,
    NEURONS,
    Head,
    Neuron,
    Strengths,
    background_neuron,
    named_neurons,
    routing_heads,
)
from hones_core.planted.world import TASKS


@dataclass(frozen=True)
class Planted:
    """What stands where: heads[layer][head] is None for a background head."""

    heads: list[list[Head | None]]
    neurons: list[list[Neuron]]


def plan(strengths: Strengths, seed: int, blind_spot: str = "") -> Planted:
    """Heads and neurons at random places of their layers, the same for all strengths.

    `blind_spot` is "" or a key of BLIND_SPOTS, whose circuit then replaces the plain one.
    """
    generator = torch.Generator().manual_seed(seed)
    routing, named = routing_heads(), named_neurons(strengths, generator)
    if blind_spot:
        routing, named = BLIND_SPOTS[blind_spot](routing, named)
    heads: list[list[Head | None]] = []
    neurons = []
    for layer in range(LAYERS):
        row: list[Head | None] = [head for head in routing if head.layer == layer]
        row += [None] * (HEADS - len(row))
        column = [neuron for neuron in named if neuron.layer == layer]
        column += [background_neuron(layer, generator) for _ in range(NEURONS - len(column))]
        heads.append(_shuffled(row, generator))
        neurons.append(_shuffled(column, generator))
    return Planted(heads, neurons)


def _shuffled(items: list, generator: torch.Generator) -> list:
    return [items[place] for place in torch.randperm(len(items), generator=generator).tolist()]


def truth(planted: Planted) -> pd.DataFrame:
    """The PLANTED_TRUTH artifact without its model: what every head and neuron is for each task.

    A head or neuron made for other tasks only is 'other_task'; all that is random, 'background'.
    """
    rows = []
    for task in TASKS:
        for layer, row in enumerate(planted.heads):
            for index, head in enumerate(row):
                label = "background"
                if head is not None:
                    label = "routing" if task in head.tasks else "other_task"
                rows.append((task, "head", layer, index, label))
        for layer, column in enumerate(planted.neurons):
            for index, neuron in enumerate(column):
                label = neuron.label if neuron.task in ("", task) else "other_task"
                rows.append((task, "neuron", layer, index, label))
    return pd.DataFrame(rows, columns=["task", "kind", "layer", "index", "label"])


def labelled(labels: pd.DataFrame, task: str, label: str, kind: str = "neuron") -> set:
    """The (layer, index) of all that has the label for the task; ValueError if nothing has."""
    rows = labels[labels["task"].eq(task) & labels["kind"].eq(kind) & labels["label"].eq(label)]
    if rows.empty:
        raise ValueError(f"no {kind} is labelled {label!r} for {task}")
    return set(zip(rows["layer"].tolist(), rows["index"].tolist(), strict=True))
