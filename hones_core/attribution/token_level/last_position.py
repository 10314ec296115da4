"""Running the last prompt token alone, behind its prompt's cache.

A change of z at the last position changes nothing at the positions before it, so that these are run
once and every change costs one token, not one prompt.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import (
    NEURONS,
    Change,
    at_last_position,
    recorded_activations,
)
from hones_core.models.adapter import Adapter, Batch
from hones_core.tasks.instances import Instance


def first_target_ids(evaluator: Evaluator, instances: Sequence[Instance]) -> Tensor:
    """The first token y_1 of each instance's answer in the context of its prompt, [N]."""
    ids = [evaluator.target_ids(instance)[0][0] for instance in instances]
    return torch.tensor(ids, device=evaluator.adapter.device)


@dataclass(frozen=True)
class LastPosition:
    """A batch of prompts of which all but the last token have been run."""

    adapter: Adapter
    last: Batch
    cache: DynamicCache

    @classmethod
    def of(cls, adapter: Adapter, batch: Batch) -> "LastPosition":
        """Run the prompts of a left-padded batch up to their last token, without gradients."""
        before, last = split_last(batch)
        cache = DynamicCache()
        with torch.no_grad():
            adapter.hidden_states(before, cache=cache)
        return cls(adapter, last, cache)

    def hidden(self, rows: Tensor) -> Tensor:
        """The final hidden states [R, d] of the given rows of the batch; rows may repeat."""
        cache = copy.deepcopy(self.cache)
        layers: list[Any] = cache.layers
        for layer in layers:  # each on its own device
            layer.batch_select_indices(rows.to(layer.keys.device))
        batch = replace(
            self.last,
            embeddings=self.last.embeddings[rows],
            attention_mask=self.last.attention_mask[rows],
            input_ids=self.last.input_ids[rows],
            positions=self.last.positions[:, rows],
        )
        return self.adapter.hidden_states(batch, cache=cache)[:, -1]

    def activations(self) -> Tensor:
        """z at the last position of every layer, [B, L, m] in float32, without gradients."""
        rows = torch.arange(len(self.last.input_ids), device=self.adapter.device)
        with (
            torch.no_grad(),
            recorded_activations(self.adapter, at_last_position) as records,
        ):
            self.hidden(rows)
        return torch.stack(records, dim=1)


def split_last(batch: Batch) -> tuple[Batch, Batch]:
    """The batch without its last token, and that token with the whole attention mask."""
    embeddings, mask, ids, positions = (
        batch.embeddings,
        batch.attention_mask,
        batch.input_ids,
        batch.positions,
    )
    before = Batch(embeddings[:, :-1], mask[:, :-1], ids[:, :-1], positions[..., :-1])
    return before, Batch(embeddings[:, -1:], mask, ids[:, -1:], positions[..., -1:])


@dataclass(frozen=True)
class ChangedActivations:
    """An intervention: z of one layer, [B, T, m], given to a function."""

    layer: int
    change: Callable[[Tensor], Tensor]

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        """All of z; the function's result is moved to where z is."""
        yield Change(self.layer, NEURONS, lambda z, _: self.change(z).to(z.device))


@contextmanager
def recorded_inputs(modules: Iterable[nn.Module]) -> Iterator[list[Tensor]]:
    """Record the input of each module at the last position, [B, d], during a forward pass."""
    records: list[Tensor] = []
    with ExitStack() as stack:
        for module in modules:
            handle = module.register_forward_pre_hook(
                lambda _module, args: records.append(args[0][:, -1].clone())
            )
            stack.callback(handle.remove)
        yield records


def inverse_rms(norm: Any, hidden: Tensor) -> Tensor:
    """1 / sqrt(mean(h^2) + eps) of the final norm for hidden [B, d], in float32: [B, 1]."""
    return torch.rsqrt(hidden.float().square().mean(-1, keepdim=True) + norm.variance_epsilon)
