"""How much the fast engine does at once, and which interventions one replay serves."""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hones_core.engine.interventions import Change
from hones_core.engine.replay import Replay, Trace, replay
from hones_core.models.adapter import Adapter

Label = TypeVar("Label", bound=Hashable)
Interventions = Mapping[Label, Sequence[Change]]


@dataclass(frozen=True)
class Limits:
    """How much is done at once: interventions in a replay, rows in a decode, rows for a query's
    candidates."""

    copies: int = 1
    decode_rows: int = 256
    candidate_rows: int = 10


def together(interventions: Interventions[Label], copies: int) -> Iterator[list[Label]]:
    """Labels that one replay serves: the same lowest changed layer, at most `copies`."""
    by_layer: dict[int | None, list[Label]] = {}
    for label, changes in interventions.items():
        first = min((change.layer for change in changes), default=None)
        by_layer.setdefault(first, []).append(label)
    for first, labels in by_layer.items():
        size = copies if first is not None else 1
        for start in range(0, len(labels), size):
            yield labels[start : start + size]


def run_together(
    adapter: Adapter, traced: Trace, changes: Sequence[Sequence[Change]], keep_keys: bool = True
) -> Replay:
    """Interventions that `together` puts together; no changes stand for the unchanged model."""
    if not changes[0]:
        return Replay(1, adapter.n_layers, list(traced.final), {})
    return replay(adapter, traced, changes, keep_keys)
