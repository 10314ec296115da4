"""The neurons that are steered: which they are, and their scales as one vector."""

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from hones_core.engine.interventions import Intervention, ScaleNeurons
from hones_core.models.adapter import Adapter
from hones_core.neuron_sets import NeuronSet, members, random_set, top_neurons

BANKS = ("dominant_group", "specific_group", "top_set")


class SteeringError(Exception):
    """Steering that cannot start or that diverged."""


class Bank:
    """The steered neurons in fixed order, and their scales as one vector."""

    def __init__(self, neurons: NeuronSet):
        if not neurons:
            raise SteeringError("the bank is empty: there is no neuron to steer")
        self.neurons = sorted(neurons)

    def __len__(self) -> int:
        return len(self.neurons)

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

    def frame(self, method: str, scales: Sequence[float], seed: int = 0) -> pd.DataFrame:
        """The bank's rows of the STEERING_SCALES artifact, but for `column_norm`."""
        layers, neurons = zip(*self.neurons, strict=True)
        columns = {"method": method, "seed": seed, "layer": layers, "neuron": neurons}
        return pd.DataFrame({**columns, "scale": list(scales)})

    @classmethod
    def of_rows(cls, rows: pd.DataFrame) -> tuple["Bank", list[float]]:
        """The bank and the scales of one method's rows of a STEERING_SCALES artifact."""
        ordered = rows.sort_values(["layer", "neuron"])
        neurons = zip(ordered["layer"].tolist(), ordered["neuron"].tolist(), strict=True)
        return cls(frozenset(neurons)), ordered["scale"].tolist()


def choose_bank(
    task: str,
    groups: pd.DataFrame,
    dominant: pd.DataFrame,
    ranking: pd.DataFrame,
    size: int | None,
    without_shared_group: str,
    bank: str = "dominant_group",
) -> tuple[NeuronSet, str]:
    """The task's bank and the name of where it comes from.

    `bank` is one of BANKS: the task's dominant group, the neurons of its own top set that no other
    task shares, or its whole top set; cut to the `size` best in the task's own HONES order. A task
    that shares no neuron with another has no dominant group; then `without_shared_group` says what
    to do: 'refuse' or 'specific_group' (its own neurons). Raises SteeringError when the bank is
    unknown, empty or refused.
    """
    source, neurons = _named_set(task, groups, dominant, without_shared_group, bank)
    if not neurons:
        raise SteeringError(f"the group {source!r} of {task} is empty: there is no neuron to steer")
    rows = ranking[(ranking["ranker"] == "hones") & (ranking["seed"] == 0)].sort_values("rank")
    ordered = zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)
    return frozenset([neuron for neuron in ordered if neuron in neurons][:size]), source


def _named_set(
    task: str, groups: pd.DataFrame, dominant: pd.DataFrame, without_shared_group: str, bank: str
) -> tuple[str, NeuronSet]:
    if bank not in BANKS:
        raise SteeringError(f"unknown bank {bank!r}; known: {', '.join(BANKS)}")
    if bank == "top_set":
        return f"top set of {task}", top_neurons(groups, task)
    if bank == "specific_group":
        return task, members(groups, task)
    group = dominant.loc[dominant["task"] == task, "group"].item()
    if not group:
        if without_shared_group == "refuse":
            raise SteeringError(
                f"{task} shares no neuron with another task, so it has no dominant group; set "
                "steering.bank_without_shared_group to specific_group to steer its own neurons"
            )
        group = task
    return group, members(groups, group)


def random_bank(bank: Bank, adapter: Adapter, task: str, seed: int) -> Bank:
    """As many neurons of each layer, drawn at random from those outside the bank (RandNeuron).

    Raises SteeringError if a layer has too few others.
    """
    shape = (adapter.n_layers, adapter.n_neurons)
    key = (seed, "steering", task)
    try:
        return Bank(random_set(frozenset(bank.neurons), *shape, "layer_matched", key))
    except ValueError as error:
        raise SteeringError(f"no random control for the bank of {task}: {error}") from error


def column_norms(adapter: Adapter, frame: pd.DataFrame) -> list[float]:
    """L2 norm of each row's column of `down_proj`: by it a bank knows its model again."""
    places = zip(frame["layer"].tolist(), frame["neuron"].tolist(), strict=True)
    weights = {
        layer: adapter.layers[layer].mlp.down_proj.weight for layer in frame["layer"].unique()
    }
    return [weights[layer][:, neuron].double().norm().item() for layer, neuron in places]
