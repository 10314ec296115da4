"""One progress line that a log file can bear."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


def progress(
    items: Iterable[Item],
    label: str | Callable[[], str],
    every_seconds: float = 10.0,
    size: Callable[[Item], int] = lambda item: 1,
    unit: str = "",
    kept: Callable[[], int] = lambda: 0,
) -> Iterator[Item]:
    """Yield the items; print count, rate and time left at most every `every_seconds`, and last.

    An item counts as `size` of it, in `unit`. `label` may be a function, for what changes on the
    way. `kept` says how much of what is done was read back instead of worked on, which says
    nothing about the rate.
    """
    items = list(items) if isinstance(items, Sized) else items
    total = sum(map(size, items)) if isinstance(items, Sized) else None
    start = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += size(item)
        now = time.monotonic()
        if now - last >= every_seconds or done == total:
            last = now
            said = label if isinstance(label, str) else label()
            line = _line(done, total, done - kept(), now - start, unit)
            print(f"{said}: {line}", file=sys.stderr, flush=True)


def _line(done: int, total: int | None, worked: int, seconds: float, unit: str) -> str:
    rate = worked / max(seconds, 1e-9)
    unit = unit and f" {unit}"
    if total is None:
        return f"{done}{unit} done, {rate:.2f}{unit}/s"
    if done == total:
        left = "0 s left"
    else:
        left = f"{(total - done) / rate:.0f} s left" if worked else "time left not known yet"
    return f"{done}/{total}{unit}, {rate:.2f}{unit}/s, {left}"
