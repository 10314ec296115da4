"""Run the decoder once and keep what is needed to run it again from a layer on, changed.

An intervention at layer l leaves everything below it as it was: the `trace` of the unchanged run
keeps, for every layer, the heads' outputs and the residual stream behind the attention, and
`replay` starts there. The layers are Hugging Face's own modules, unmodified. In the top layer
attention and FFN run only for the columns that are read; the others give keys and values alone.

The layers may lie on several devices: `_on_layer` is where streams and segments move along.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hones_core.engine.interventions import HEADS, Change, applied_by_rows
from hones_core.engine.segments import Segment, take
from hones_core.models.adapter import Adapter

KeysValues = tuple[Tensor, Tensor]  # each [R, key-value heads, columns, head_dim]


@dataclass
class LayerTrace:
    """One layer of one segment in the unchanged run; the top layer has the read columns only.

    heads [R, S, H * d_h]: the input of o_proj. middle [R, S, d]: the residual stream behind the
    attention. keys_values: of all own columns. All lie on the layer's device.
    """

    heads: Tensor | None  # None in a top layer that is not read
    middle: Tensor | None
    keys_values: KeysValues


@dataclass
class Trace:
    """The unchanged run: layers[l][s] of segment s; final[s] [R, K, d] at the reads, or None.

    The segments are where inputs go, the final states where the final norm is.
    """

    segments: Sequence[Segment]
    layers: list[list[LayerTrace]]
    final: list[Tensor | None]

    def read(self, segment: int) -> Tensor:
        """Final states [R, K, d] of a segment that is read; ValueError for another."""
        return _known(self.final[segment], segment)

    def middle(self, layer: int, segment: int) -> Tensor:
        """The residual stream [R, S, d] behind a layer's attention; ValueError if not read."""
        return _known(self.layers[layer][segment].middle, segment)


@dataclass
class Replay:
    """A changed run of `copies` interventions: rows are ordered copy by copy.

    final[s] [copies * R, K, d] at the reads (None where nothing is read); keys_values[l][s] of the
    layers above `first`, at and below which they are the trace's.
    """

    copies: int
    first: int
    final: list[Tensor | None]
    keys_values: dict[int, list[KeysValues]]

    def read(self, segment: int) -> Tensor:
        """Final states [copies * R, K, d] of a segment that is read; ValueError for another."""
        return _known(self.final[segment], segment)


def _known(values: Tensor | None, segment: int) -> Tensor:
    if values is None:
        raise ValueError(f"nothing is read of segment {segment}, so there are no states of it")
    return values


def trace(adapter: Adapter, segments: Sequence[Segment]) -> Trace:
    """Run the unchanged model over the segments."""
    layers: list[list[LayerTrace]] = []
    here = segments
    hidden: list[Any] = [segment.embeddings for segment in segments]
    for index in range(adapter.n_layers):
        here, hidden = _on_layer(adapter, index, here, hidden)
        row: list[LayerTrace] = []
        for place, segment in enumerate(here):
            before = _context(segment, [traced.keys_values for traced in row])
            with _watched(adapter.layers[index]) as seen:
                hidden[place], own = _run_layer(adapter, index, hidden[place], segment, before)
            row.append(LayerTrace(seen.get("heads"), seen.get("middle"), own))
        layers.append(row)
    return Trace(segments, layers, [_normed(adapter, state) for state in hidden])


def replay(
    adapter: Adapter,
    traced: Trace,
    interventions: Sequence[Sequence[Change]],
    keep_keys: bool = True,
) -> Replay:
    """Run the model with each intervention's changes, from the lowest changed layer on.

    Equal, up to rounding, to the whole model with the interventions' hooks. Keys and values, most
    of what is kept, are needed only where decoding goes on from here.
    """
    copies = len(interventions)
    first = min(change.layer for changes in interventions for change in changes)
    device = adapter.layer_device(first)
    segments = [segment.repeated(copies).on(device) for segment in traced.segments]
    groups = [(changes, 1) for changes in interventions]
    keys_values: dict[int, list[KeysValues]] = {}
    hidden: list[Any] = []  # a tensor each, or None behind a top layer that is not read
    with applied_by_rows(adapter, groups):
        for place, segment in enumerate(segments):
            base = traced.layers[first][place]
            hidden.append(_finish_first(adapter, first, base, segment, interventions))
        for index in range(first + 1, adapter.n_layers):
            segments, hidden = _on_layer(adapter, index, segments, hidden)
            row: list[KeysValues] = []
            for place, segment in enumerate(segments):
                before = _context(segment, row)
                hidden[place], own = _run_layer(adapter, index, hidden[place], segment, before)
                row.append(own)
            if keep_keys:
                keys_values[index] = row
        return Replay(copies, first, [_normed(adapter, state) for state in hidden], keys_values)


def run_from_middle(adapter: Adapter, middle: Tensor, first: int, segment: Segment) -> Tensor:
    """Final states [R, K, d] at the reads of one segment, from the residual stream `middle`
    [R, S, d] behind the attention of layer `first`; differentiable."""
    (segment,), (middle,) = _on_layer(adapter, first, [segment], [middle])
    answering = segment.answering
    if first == adapter.n_layers - 1:
        middle, answering = take(middle, segment.read_columns), segment.at_reads().answering
    hidden = _finish_layer(adapter, first, middle, answering)
    for index in range(first + 1, adapter.n_layers):
        (segment,), (hidden,) = _on_layer(adapter, index, [segment], [hidden])
        hidden, _ = _run_layer(adapter, index, hidden, segment, None)
    return adapter.language_model.norm(hidden)


def run_step(
    adapter: Adapter, hidden: Tensor, segment: Segment, caches: Sequence["GrowingCache"]
) -> Tensor:
    """Final states of one decoding step behind growing caches, all columns read."""
    for index, cache in enumerate(caches):
        (segment,), (hidden,) = _on_layer(adapter, index, [segment], [hidden])
        hidden = _call_layer(adapter, index, hidden, segment, cache)
    return adapter.language_model.norm(hidden)


class GrowingCache:
    """Keys and values of one layer, with room for `room` more columns; stands in for a cache."""

    def __init__(self, keys: Tensor, values: Tensor, room: int):
        pad = (0, 0, 0, room)
        self.keys, self.values = (nn.functional.pad(part, pad) for part in (keys, values))
        self.length = keys.shape[2]

    def update(self, keys: Tensor, values: Tensor, *_: object, **__: object) -> KeysValues:
        """Append new columns and give all of them, as Hugging Face's attention asks."""
        stop = self.length + keys.shape[2]
        self.keys[:, :, self.length : stop] = keys
        self.values[:, :, self.length : stop] = values
        self.length = stop
        return self.keys[:, :, :stop], self.values[:, :, :stop]

    def keep(self, rows: Tensor) -> None:
        """Go on with some of the rows only."""
        rows = rows.to(self.keys.device)
        self.keys, self.values = self.keys[rows], self.values[rows]


class _Before:
    """Stands in for a cache in one layer call: puts the context first, keeps the own part."""

    def __init__(self, context: KeysValues | None):
        self.context = context
        self.own: Any = None  # keys and values, once the layer has run

    def update(self, keys: Tensor, values: Tensor, *_: object, **__: object) -> KeysValues:
        self.own = keys, values
        return _joined(self.context, self.own)


class _Given:
    """Stands in for a cache in one layer call: gives what was computed before."""

    def __init__(self, keys_values: KeysValues):
        self.keys_values = keys_values

    def update(self, *_: object, **__: object) -> KeysValues:
        return self.keys_values


def _on_layer(
    adapter: Adapter, index: int, segments: Sequence[Segment], hidden: Sequence[Tensor | None]
) -> tuple[list[Segment], list[Any]]:
    """Segments and residual streams on a layer's device; the same objects where they lie there."""
    device = adapter.layer_device(index)
    moved = [None if state is None else state.to(device) for state in hidden]
    return [segment.on(device) for segment in segments], moved


def _joined(context: KeysValues | None, own: KeysValues) -> KeysValues:
    if context is None:
        return own
    return torch.cat([context[0], own[0]], 2), torch.cat([context[1], own[1]], 2)


def _context(segment: Segment, rows: Sequence[KeysValues]) -> KeysValues | None:
    """Keys and values of the parents' rows, which are those of the segment before."""
    if segment.parents is None:
        return None
    keys, values = rows[-1]
    return keys[segment.parents], values[segment.parents]


def _run_layer(
    adapter: Adapter, index: int, hidden: Tensor, segment: Segment, before: KeysValues | None
) -> tuple[Any, KeysValues]:
    """One whole layer: its output (top layer: at the reads, or None) and own keys and values."""
    if index < adapter.n_layers - 1:
        cache = _Before(before)
        return _call_layer(adapter, index, hidden, segment, cache), cache.own
    cos, sin = segment.rotary
    own = adapter.keys_values(index, hidden, cos, sin)
    if segment.reads is None:
        return None, own
    given = _Given(_joined(before, own))
    return _call_layer(adapter, index, take(hidden, segment.reads), segment.at_reads(), given), own


def _call_layer(
    adapter: Adapter, index: int, hidden: Tensor, segment: Segment, cache: object
) -> Tensor:
    with _answering(adapter, segment.answering):
        return adapter.layers[index](
            hidden,
            attention_mask=segment.attention_mask,
            position_embeddings=segment.rotary,
            past_key_values=cache,
            use_cache=True,
        )


def _finish_first(
    adapter: Adapter,
    first: int,
    base: LayerTrace,
    segment: Segment,
    interventions: Sequence[Sequence[Change]],
) -> Tensor | None:
    """The output of the lowest changed layer, of whose attention only the o_proj changes."""
    if base.middle is None:
        return None
    at_top = first == adapter.n_layers - 1
    answering = (segment.at_reads() if at_top else segment).answering
    rows = len(base.middle)
    middles = []
    for copy, changes in enumerate(interventions):
        own = answering[copy * rows : (copy + 1) * rows]
        middles.append(_changed_middle(adapter, first, base, changes, own))
    return _finish_layer(adapter, first, torch.cat(middles), answering)


def _changed_middle(
    adapter: Adapter, first: int, base: LayerTrace, changes: Sequence[Change], answering: Tensor
) -> Tensor:
    """The residual stream behind the attention with the changed heads' outputs written to it."""
    weight = adapter.layers[first].self_attn.o_proj.weight
    heads: Any = base.heads
    middle: Any = base.middle
    for change in changes:
        if (change.layer, change.place) != (first, HEADS):
            continue
        changed = change.function(heads, answering)
        columns = change.columns or slice(None)
        difference = changed[..., columns] - heads[..., columns]
        middle = middle + nn.functional.linear(difference, weight[:, columns])
        heads = changed
    return middle


def _finish_layer(adapter: Adapter, index: int, middle: Tensor, answering: Tensor) -> Tensor:
    """What a layer does behind its attention."""
    layer = adapter.layers[index]
    with _answering(adapter, answering):
        return middle + layer.mlp(layer.post_attention_layernorm(middle))


def _normed(adapter: Adapter, hidden: Tensor | None) -> Tensor | None:
    return None if hidden is None else adapter.language_model.norm(hidden)


@contextmanager
def _answering(adapter: Adapter, answering: Tensor | None) -> Iterator[None]:
    adapter.answer_positions = answering
    try:
        yield
    finally:
        adapter.answer_positions = None


@contextmanager
def _watched(layer: Any) -> Iterator[dict[str, Tensor]]:
    """Keep the input of o_proj and the residual stream behind the attention in one call."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> Callable:
        return lambda _module, args: seen.__setitem__(name, args[0])

    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(keep("heads")),
        layer.post_attention_layernorm.register_forward_pre_hook(keep("middle")),
    ]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
