"""Greedy decoding of many rows at once, each with its own intervention.

Rows whose answer leaves the draft come here from any head and sample: decoding one row costs almost
as much as decoding thirty, because each step reads all weights once.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from hones_core.engine.interventions import Change, applied_by_rows
from hones_core.engine.replay import GrowingCache, KeysValues, run_step
from hones_core.engine.segments import Segment
from hones_core.models.adapter import Adapter

CARRIED = 0.75  # rows that have ended are dropped when no more than this share is left


@dataclass
class Waiting:
    """Rows under one intervention whose next token is known.

    names: one per row; keys_values: per layer, of R rows and T columns; mask [R, T]: which of them
    the next token sees; tokens [R]: the next token; positions [R]: its position; room [R]: how many
    more tokens may follow it. Keys and values lie on their layers' devices, the others where inputs
    go.
    """

    names: list[Hashable]
    changes: Sequence[Change]
    keys_values: list[KeysValues]
    mask: Tensor
    tokens: Tensor
    positions: Tensor
    room: Tensor


@dataclass
class Decoded:
    """Tokens that followed, the known one first, and the smallest margin of their choices."""

    tokens: list[int]
    margin: float = float("inf")


@dataclass
class DecodePool:
    """Collects rows and decodes them together, at most `rows` at a time."""

    adapter: Adapter
    rows: int
    waiting: list[Waiting] = field(default_factory=list)
    done: dict[Hashable, Decoded] = field(default_factory=dict)

    def add(self, waiting: Waiting) -> None:
        """Take rows; decodes as soon as the pool is full."""
        for start in range(0, len(waiting.names), self.rows):
            part = _rows(waiting, slice(start, start + self.rows))
            if self._size() + len(part.names) > self.rows:
                self.finish()
            self.waiting.append(part)

    def finish(self) -> dict[Hashable, Decoded]:
        """Decode what is waiting; returns all results so far, by name."""
        if self.waiting:
            batch, self.waiting = self.waiting, []
            self.done.update(decode(self.adapter, batch))
        return self.done

    def _size(self) -> int:
        return sum(len(part.names) for part in self.waiting)


def decode(adapter: Adapter, waiting: Sequence[Waiting]) -> dict[Hashable, Decoded]:
    """Greedy continuation of all rows until a stop token or the end of their room.

    Takes the keys and values out of `waiting`.
    """
    rows = _Rows(adapter, waiting)
    while rows.step():
        pass
    return rows.results


class _Rows:
    """The rows that are still decoding."""

    def __init__(self, adapter: Adapter, waiting: Sequence[Waiting]):
        self.adapter = adapter
        self.names = [name for part in waiting for name in part.names]
        self.changes = [part.changes for part in waiting for _ in part.names]
        self.tokens = torch.cat([part.tokens for part in waiting])
        self.positions = torch.cat([part.positions for part in waiting])
        self.room = torch.cat([part.room for part in waiting])
        width = max(part.mask.shape[1] for part in waiting)
        self.mask = torch.cat([_pad(part.mask, width, -1) for part in waiting])
        room = int(self.room.max())
        self.caches = []
        for layer in range(adapter.n_layers):
            keys, values = (
                torch.cat([_pad(part.keys_values[layer][which], width, 2) for part in waiting])
                for which in (0, 1)
            )
            for part in waiting:  # copied: let go before the next layer's are made
                part.keys_values[layer] = None  # type: ignore[call-overload]  # nobody reads on
            self.caches.append(GrowingCache(keys, values, room))
        self.stop = torch.tensor(adapter.stop_ids, device=self.tokens.device)
        self.ended = torch.zeros_like(self.tokens, dtype=torch.bool)
        self.results = {
            name: Decoded([token])
            for name, token in zip(self.names, self.tokens.tolist(), strict=True)
        }
        self._drop_finished()

    def step(self) -> bool:
        """Choose one more token for every row; False when no row is left."""
        if not self.names:
            return False
        seen = torch.ones_like(self.mask[:, :1])
        self.mask = torch.cat([self.mask, seen], dim=1)
        embeddings = self.adapter.embed(self.tokens[:, None])
        axes = self.positions[None, :, None].expand(self.adapter.position_axes, -1, -1)
        segment = Segment(
            embeddings,
            axes,
            self.mask[:, None, None],
            seen,
            seen,
            self.adapter.rotary(embeddings, axes),
        )
        with applied_by_rows(self.adapter, self._groups()):
            states = run_step(self.adapter, embeddings, segment, self.caches)
        tokens, margins = choose(self.adapter.logits(states[:, 0]))
        self.tokens = tokens.to(self.adapter.device)
        ended = self.ended.tolist()
        chosen = zip(self.names, self.tokens.tolist(), margins.tolist(), ended, strict=True)
        for name, token, margin, is_over in chosen:
            if is_over:
                continue
            result = self.results[name]
            result.tokens.append(token)
            result.margin = min(result.margin, margin)
        self.positions = self.positions + 1
        self.room = self.room - 1
        self._drop_finished()
        return True

    def _groups(self) -> list[tuple[Sequence[Change], int]]:
        """Neighbouring rows under the same changes."""
        grouped = groupby(self.changes, key=id)
        counted = [(list(rows)) for _, rows in grouped]
        return [(rows[0], len(rows)) for rows in counted]

    def _drop_finished(self) -> None:
        """Note which rows have ended. They are carried on, ignored, until enough have ended to be
        worth copying the others' keys and values together."""
        self.ended |= torch.isin(self.tokens, self.stop) | (self.room <= 0)
        kept = (~self.ended).nonzero().squeeze(1)
        places = kept.tolist()
        if len(places) > CARRIED * len(self.names):
            return
        self.names = [self.names[place] for place in places]
        self.changes = [self.changes[place] for place in places]
        if not places:
            return
        self.tokens, self.positions = self.tokens[kept], self.positions[kept]
        self.room, self.mask, self.ended = self.room[kept], self.mask[kept], self.ended[kept]
        for cache in self.caches:
            cache.keep(kept)


def choose(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Greedy tokens [...] of logits [..., V], and by how much each is chosen.

    Of equal logits the lowest id is taken, as `generate` does, however many are equal.
    """
    first, second = logits.topk(2, dim=-1).values.unbind(-1)
    return logits.argmax(-1), first - second


def _pad(values: Tensor, width: int, dim: int) -> Tensor:
    """Zeros (False) put before `dim` up to `width`."""
    missing = width - values.shape[dim]
    if not missing:
        return values
    shape = list(values.shape)
    shape[dim] = missing
    return torch.cat([values.new_zeros(shape), values], dim)


def _rows(waiting: Waiting, rows: slice) -> Waiting:
    if rows.start == 0 and rows.stop >= len(waiting.names):
        return waiting
    return Waiting(
        waiting.names[rows],
        waiting.changes,
        [(keys[rows], values[rows]) for keys, values in waiting.keys_values],
        waiting.mask[rows],
        waiting.tokens[rows],
        waiting.positions[rows],
        waiting.room[rows],
    )
