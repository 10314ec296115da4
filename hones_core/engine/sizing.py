"""Chunk sizes that fit into so many bytes: given ones are kept, the others are planned."""

from dataclasses import dataclass, replace

from hones_core.engine.budget import ANSWERS, CANDIDATES, PEAKS, Sizes
from hones_core.engine.lengths import Lengths
from hones_core.engine.shapes import Shape

SHARES = {"cuda": 0.9, "cpu": 0.5}  # of free memory: a GPU's allocator needs slack, a CPU is shared
# Beyond these, more at once saves no time: a pass of so many columns keeps a device busy.
BUSY_COLUMNS = {"cuda": 16384, "cpu": 4096}
MOST_SAMPLES, MOST_DECODED = 8, 64


@dataclass(frozen=True)
class Chosen:
    """Sizes, and the largest memory they need in bytes, of `free` bytes that may be used."""

    sizes: Sizes
    peak: int
    free: int


def choose(
    shape: Shape, work: str, lengths: Lengths, free: int, given: dict[str, int], device: str
) -> Chosen:
    """The sizes that fit into `free` bytes: `given` ones as they are, the others grown in turn.

    All start at one; the one that is farthest from where more saves no time doubles, as long as
    the peak fits. Where not even one of each fits, they stay at one.
    """
    sizes = replace(Sizes(), **given)
    wanted = _useful(work, lengths, sizes, device)
    growing = {name: most for name, most in wanted.items() if name not in given}
    while growing:
        name = min(growing, key=lambda name: getattr(sizes, name) / growing[name])
        larger = min(2 * getattr(sizes, name), growing[name])
        tried = replace(sizes, **{name: larger})
        if larger == getattr(sizes, name) or PEAKS[work](shape, lengths, tried) > free:
            del growing[name]
        else:
            sizes = tried
    return Chosen(sizes, PEAKS[work](shape, lengths, sizes), free)


def _useful(work: str, lengths: Lengths, sizes: Sizes, device: str) -> dict[str, int]:
    """The largest sizes that are of use."""
    busy = BUSY_COLUMNS.get(device, BUSY_COLUMNS["cpu"])
    if work == CANDIDATES:
        columns = lengths.prefix + lengths.candidates * lengths.suffix
        return {"samples": 2, "copies": max(1, busy // columns)}
    columns = lengths.columns if work == ANSWERS else lengths.prompt
    rows = max(1, busy // columns)
    useful = {"samples": min(rows, MOST_SAMPLES), "copies": max(1, rows // MOST_SAMPLES) * 2}
    return useful | ({"decode_rows": MOST_DECODED} if work == ANSWERS else {})


def describe(chosen: Chosen, work: str, given: dict[str, int], lengths: Lengths) -> str:
    """One line for the log: what was chosen, what was given, and what it needs."""
    names = {"samples": "samples", "copies": "interventions"}
    names |= {"decode_rows": "decoded rows"} if work == ANSWERS else {}
    parts = [
        f"{getattr(chosen.sizes, name)} {text}{' (given)' if name in given else ''}"
        for name, text in names.items()
    ]
    row = (
        f"rows of up to {lengths.columns}"
        if lengths.beside
        else f"prompts of up to {lengths.prompt}"
    )
    fits = "" if chosen.peak <= chosen.free else ", which is more: it may not fit"
    return (
        f"memory plan: {', '.join(parts)} at once, for {row} tokens; "
        f"at most {chosen.peak / 1e9:.2f} of {chosen.free / 1e9:.2f} GB{fits}"
    )


def given_sizes(
    work: str,
    batch_size: int | None,
    copies: int | None,
    decode_rows: int | None,
    candidate_rows: int,
) -> dict[str, int]:
    """The sizes that the configuration gives; `batch_size` counts rows of the language model."""
    samples = batch_size
    if work == CANDIDATES and batch_size is not None:
        samples = max(1, batch_size // candidate_rows)
    given = {"samples": samples, "copies": copies, "decode_rows": decode_rows}
    return {name: size for name, size in given.items() if size} | {"candidate_rows": candidate_rows}
