"""Run chunk after chunk of instances under many interventions, with progress and kept parts."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import pyarrow as pa

from hones_core.engine.evaluate import Evaluator, Outcome
from hones_core.engine.interventions import Intervention
from hones_core.partial import Parts
from hones_core.progress import progress
from hones_core.tasks.instances import Instance

Label = TypeVar("Label", bound=Hashable)
Interventions = Mapping[Label, Intervention | None]


def outcomes_by_chunk(
    evaluator: Evaluator,
    chunks: Sequence[Sequence[Instance]],
    chosen: Callable[[], Interventions[Label]],
    label: str | Callable[[], str],
    parts: Parts | None = None,
    score_targets: bool = True,
) -> Iterator[dict[Label, list[Outcome]]]:
    """Each chunk's outcomes under the interventions that `chosen` gives when it is reached.

    What each chunk gave is kept in `parts` and taken from there when it is there. The labels of
    `chosen` have to be strings, numbers or tuples of them.
    """
    parts = parts or Parts()
    kept = 0
    watched = progress(chunks, label, size=len, unit="samples", kept=lambda: kept)
    for index, chunk in enumerate(watched):
        interventions = chosen()
        name = f"{index:05d}"
        key = [[one.instance_id for one in chunk], list(interventions), score_targets]
        table = parts.load(name, key)
        if table is None:
            prepared = evaluator.prepare(chunk, score_targets)
            found = evaluator.outcomes_under(prepared, interventions)
            parts.save(name, key, _to_table(found, interventions))
        else:
            kept += len(chunk)
            found = _from_table(table, interventions)
        yield {label: found[label] for label in interventions}


def chunks_to_sum(
    chunks: Sequence[Sequence[Instance]],
    sums: Mapping[tuple[int, int], np.ndarray],
    label: str,
    parts: Parts | None = None,
) -> Iterator[tuple[int, Sequence[Instance]]]:
    """(number of instances before it, chunk) of each chunk that the caller has to add to `sums`.

    `sums` (float64, zero at first) are kept in `parts` from time to time, more seldom the longer
    that takes; on the next start they are filled with what was kept and only the later chunks are
    yielded, so that everything is added in the same order, and to the same bits, as without a
    break.
    """
    parts = parts or Parts()
    ids = [[one.instance_id for one in chunk] for chunk in chunks]
    places = [list(place) for place in sums]
    restored = _restore(sums, parts, lambda count: [places, ids[:count]], len(chunks))
    kept = sum(map(len, chunks[:restored]))
    saved, last, wait = restored, time.monotonic(), parts.every_seconds
    start = 0
    watched = progress(chunks, label, size=len, unit="samples", kept=lambda: kept)
    for count, chunk in enumerate(watched, start=1):
        if count > restored:
            yield start, chunk
            if (begun := time.monotonic()) - last >= wait:
                values = np.concatenate([array.ravel() for array in sums.values()])
                parts.save(_sums(count), [places, ids[:count]], pa.table({"sum": values}))
                parts.drop(_sums(saved))
                saved, last = count, time.monotonic()
                wait = parts.wait_after(last - begun)
        start += len(chunk)


def _sums(count: int) -> str:
    """The name of the sums over the first `count` chunks."""
    return f"sums_{count:05d}"


def _restore(
    sums: Mapping[tuple[int, int], np.ndarray],
    parts: Parts,
    key: Callable[[int], list],
    n_chunks: int,
) -> int:
    """Fill `sums` with the latest that were kept; the number of chunks in them, 0 if none were."""
    for count in range(n_chunks, 0, -1):
        table = parts.load(_sums(count), key(count))
        if table is not None:
            values = table["sum"].to_numpy()
            start = 0
            for array in sums.values():
                array[...] = values[start : start + array.size].reshape(array.shape)
                start += array.size
            return count
    return 0


def _to_table(found: Mapping[Label, Sequence[Outcome]], labels: Interventions) -> pa.Table:
    rows = [
        {"label": index, **vars(outcome)}
        for index, label in enumerate(labels)
        for outcome in found[label]
    ]
    return pa.Table.from_pylist(rows)


def _from_table(table: pa.Table, labels: Interventions) -> dict[Label, list[Outcome]]:
    found: dict[Label, list[Outcome]] = {label: [] for label in labels}
    outcomes = list(found.values())
    for row in table.to_pylist():
        outcomes[row.pop("label")].append(Outcome(**row))
    return found
