"""The neurons' activations at the last prompt token, under any intervention."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from hones_core.engine.at_once import together
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import (
    Change,
    Intervention,
    applied,
    at_last_position,
    recorded_activations,
)
from hones_core.engine.replay import replay, trace
from hones_core.engine.segments import prompt_segment
from hones_core.models.adapter import Adapter, Batch
from hones_core.tasks.instances import Instance

Label = TypeVar("Label", bound=Hashable)


class LastTokenActivations:
    """z at the last prompt token of every layer, [B, L, m] in float32, of one batch of instances.

    `base` is that of the unchanged model. The evaluator's engine decides whether an intervention
    runs the whole model ('plain') or only the layers from the changed one on ('fast').
    """

    def __init__(self, evaluator: Evaluator, instances: Sequence[Instance]):
        self.evaluator = evaluator
        self.batch = evaluator.encode(instances)
        self.traced = None
        if evaluator.engine == "plain":
            self.base = last_token_activations(evaluator.adapter, self.batch)
            return
        adapter = evaluator.adapter
        with recorded_activations(adapter, at_last_position) as records:
            self.traced = trace(adapter, [prompt_segment(adapter, self.batch)])
        self.base = torch.stack(records, dim=1)

    def under(self, interventions: Mapping[Label, Intervention]) -> Iterator[tuple[Label, Tensor]]:
        """Each intervention with its activations, [B, L, m]; not always in the given order."""
        adapter = self.evaluator.adapter
        changes = {label: list(one.changes(adapter)) for label, one in interventions.items()}
        for label in list(changes):
            if self.traced is None or self._beyond_the_trace(changes[label]):
                with applied(adapter, interventions[label]):
                    yield label, last_token_activations(adapter, self.batch)
                del changes[label]
        if self.traced is None:
            return
        for labels in together(changes, self.evaluator.limits.copies):
            with recorded_activations(adapter, at_last_position) as records:
                replay(adapter, self.traced, [changes[label] for label in labels], keep_keys=False)
            for copy, label in enumerate(labels):
                yield label, self._stacked(records, copy)

    def _beyond_the_trace(self, changes: Sequence[Change]) -> bool:
        """Whether they need all positions of the top layer, of which the last alone is traced."""
        top = self.evaluator.adapter.n_layers - 1
        return any(change.whole and change.layer == top for change in changes)

    def _stacked(self, records: Sequence[Tensor | None], copy: int) -> Tensor:
        """One copy's rows; the layers that were not run again are those of the base."""
        rows = len(self.base)
        own = slice(copy * rows, (copy + 1) * rows)
        return torch.stack(
            [
                self.base[:, layer] if record is None else record[own]
                for layer, record in enumerate(records)
            ],
            dim=1,
        )


def last_token_activations(adapter: Adapter, batch: Batch) -> Tensor:
    """z at the last prompt token of every layer, [B, L, m] in float32 (left-padded batch)."""
    with recorded_activations(adapter, at_last_position) as records:
        adapter.hidden_states(batch)
    return torch.stack(records, dim=1)
