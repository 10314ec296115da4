"""Time and memory of a job, in a file like those that Snakemake's `benchmark` writes.

Snakemake does not measure rules whose results workflows may share: these do it themselves.
"""

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hones_core.atomic import write_text


@contextmanager
def recorded(path: Path) -> Iterator[None]:
    """Write down, after the body, how long it took and this process's largest memory."""
    start = time.monotonic()
    yield
    mebibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    write_text(path, f"s\tmax_rss\n{time.monotonic() - start:.4f}\t{mebibytes:.2f}\n")


def record_file(log: str) -> Path:
    """The file of a job with this log, such as results/toy/logs/predict_base/llava.log."""
    path = Path(log)
    parts = ["benchmarks" if part == "logs" else part for part in path.parts]
    return Path(*parts).with_suffix(".tsv")
