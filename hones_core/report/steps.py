"""The steps of a run and which reads which, as an SVG that stands in the page itself."""

import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise, product

from hones_core.job_records import JobRecord

ROW = 58  # pixels from one layer to the next
HEIGHT = 24  # of a step's box
LETTER = 6.2  # width of a letter at the size that page.css gives names
GAP = 10  # between neighbours of a layer
LANE = 6  # width of a line that passes a layer
SWEEPS = 12  # down and up again, to order and to place

Reads = Mapping[str, Collection[str]]


@dataclass(frozen=True)
class Lane:
    """Where a line from an earlier step to a later one passes a layer between them."""

    earlier: str
    later: str
    layer: int


Place = str | Lane
Places = dict[Place, float]  # {place: its middle in pixels}
Neighbours = dict[Place, tuple[list[Place], list[Place]]]  # in the layers above and below


def layers(reads: Reads) -> dict[str, int]:
    """{step: length of the longest way to it}, 0 for a step that reads no other's output.

    Raises KeyError for a step that is read but not listed, RecursionError if steps read in a ring.
    """

    @cache
    def layer(step: str) -> int:
        return 1 + max((layer(read) for read in reads[step]), default=-1)

    return {step: layer(step) for step in reads}


def without_detours(reads: Reads) -> dict[str, list[str]]:
    """The same without the reads that a longer way implies; errors as of `layers`."""

    @cache
    def behind(step: str) -> frozenset[str]:
        return frozenset().union(*({read} | behind(read) for read in reads[step]))

    return {
        step: [read for read in sorted(before) if not any(read in behind(one) for one in before)]
        for step, before in reads.items()
    }


def drawing(
    reads: Reads, shown: Collection[str], records: Mapping[str, Sequence[JobRecord]]
) -> str:
    """An inline SVG, earlier steps above; steps in `shown` are of the class `shown`.

    Lines are those of `without_detours`; a step's title names all that it reads, and its jobs' time
    and memory from `records` if it has any there. Errors as of `layers`.
    """
    lines, layer = without_detours(reads), layers(reads)
    rows, neighbours = _rows(lines, layer)
    across = _placed(rows, neighbours)
    width = max(across[one] + _width(one) / 2 for one in across) + 1
    parts = [
        _line(earlier, later, layer, across)
        for later, before in lines.items()
        for earlier in before
    ]
    parts += [
        _box(step, across[step], layer[step], step in shown, _said(step, reads, records))
        for step in reads
    ]
    height = (len(rows) - 1) * ROW + HEIGHT + 2
    size = f'width="{width:.0f}" height="{height}" viewBox="-1 -1 {width + 1:.0f} {height}"'
    label = f"{len(reads)} steps, earlier ones above, with lines to the steps that read them"
    return f'<svg {size} role="img" aria-label="{label}">\n' + "\n".join(parts) + "\n</svg>"


def _rows(lines: Reads, layer: Mapping[str, int]) -> tuple[list[list[Place]], Neighbours]:
    """The places of each layer, and {place: its neighbours in the layers (above, below)}."""
    rows: list[list[Place]] = [[] for _ in range(max(layer.values()) + 1)]
    neighbours: Neighbours = {}
    for step in lines:
        rows[layer[step]].append(step)
        neighbours[step] = ([], [])
    for later, before in lines.items():
        for earlier in before:
            way = _way(earlier, later, layer)
            for number, lane in enumerate(way[1:-1], layer[earlier] + 1):
                rows[number].append(lane)
                neighbours[lane] = ([], [])
            for above, below in pairwise(way):
                neighbours[above][1].append(below)
                neighbours[below][0].append(above)
    return rows, neighbours


def _way(earlier: str, later: str, layer: Mapping[str, int]) -> list[Place]:
    between = range(layer[earlier] + 1, layer[later])
    return [earlier, *(Lane(earlier, later, number) for number in between), later]


def _placed(rows: list[list[Place]], neighbours: Neighbours) -> Places:
    """{place: middle in pixels}: near its neighbours, in an order that crosses few lines.

    No layer is wider than the one that has most to hold.
    """
    space = max(sum(_width(one) + GAP for one in row) - GAP for row in rows)
    across: Places = {}
    for row in rows:
        across |= _apart(row, dict.fromkeys(row, space / 2), space)
    # sides: neighbours above while going down and below while going up; to untangle, both
    for phase, sweep in product(("order", "untangle", "straighten"), range(SWEEPS)):
        down = sweep % 2 == 0
        sides = (0, 1) if phase == "untangle" else (0,) if down else (1,)
        for row in rows if down else reversed(rows):
            wanted: Places = {}
            for one in row:
                places = [across[other] for side in sides for other in neighbours[one][side]]
                wanted[one] = sum(places) / len(places) if places else across[one]
            if phase != "straighten":
                row.sort(key=wanted.__getitem__)
            across |= _apart(row, wanted, space)
    return across


def _apart(row: Sequence[Place], wanted: Places, space: float) -> Places:
    """The row in its order, as near to the wanted middles as widths, gaps and space allow."""
    right, left = _pushed(row, wanted), _pushed(row[::-1], wanted, -1)
    both = {one: (right[one] + left[one]) / 2 for one in row}  # keeps the distances, as each does
    return _pushed(row, _pushed(row[::-1], both, -1, -space), 1, 0)


def _pushed(
    order: Sequence[Place], wanted: Places, sign: int = 1, edge: float = float("-inf")
) -> Places:
    """Each pushed to the right (to the left: sign -1) of sign * `edge` and of those before it."""
    found: Places = {}
    for one in order:
        middle = max(sign * wanted[one], edge + _width(one) / 2)
        edge = middle + _width(one) / 2 + GAP
        found[one] = sign * middle
    return found


def _width(place: Place) -> float:
    return LANE if isinstance(place, Lane) else len(place) * LETTER + 14


def _line(earlier: str, later: str, layer: Mapping[str, int], across: Places) -> str:
    """A curve from below one box to above the other, through the lanes between them."""
    x, y = across[earlier], layer[earlier] * ROW + HEIGHT
    path = [f"M{x:.1f} {y}"]
    for place in _way(earlier, later, layer)[1:]:
        top = (place.layer if isinstance(place, Lane) else layer[later]) * ROW
        bend = (y + top) / 2
        x, middle = across[place], x
        path.append(f"C{middle:.1f} {bend:.0f} {x:.1f} {bend:.0f} {x:.1f} {top}")
        y = top
        if isinstance(place, Lane):
            y += HEIGHT
            path.append(f"V{y}")
    return f'<path d="{" ".join(path)}"/>'


def _box(step: str, middle: float, layer: int, shown: bool, said: str) -> str:
    width, top, name = _width(step), layer * ROW, html.escape(step)
    return (
        f'<g class="step{" shown" if shown else ""}"><title>{html.escape(said)}</title>'
        f'<rect x="{middle - width / 2:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT}" '
        f'rx="4"/><text x="{middle:.1f}" y="{top + 16}">{name}</text></g>'
    )


def _said(step: str, reads: Reads, records: Mapping[str, Sequence[JobRecord]]) -> str:
    jobs = records.get(step, ())
    parts = [step]
    if jobs:
        count = "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"
        parts.append(f"{count}, {sum(job.seconds for job in jobs):.0f} seconds")
    if memory := _largest(job.memory_mib for job in jobs):
        parts.append(f"at most {memory:.0f} MiB")
    parts.append(f"reads {', '.join(sorted(reads[step])) or 'no other step'}")
    return "; ".join(parts)


def _largest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
