"""One progress line that a log file can bear."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], label: str, every_seconds: float = 10.0) -> Iterator[Item]:
    """Yield the items; print count, rate and time left at most every `every_seconds`."""
    total = len(items) if isinstance(items, Sized) else None
    start = last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - last >= every_seconds or done == total:
            last = now
            print(_line(label, done, total, now - start), file=sys.stderr, flush=True)


def _line(label: str, done: int, total: int | None, seconds: float) -> str:
    rate = done / max(seconds, 1e-9)
    if total is None:
        return f"{label}: {done} done, {rate:.2f}/s"
    return f"{label}: {done}/{total}, {rate:.2f}/s, {(total - done) / rate:.0f} s left"
