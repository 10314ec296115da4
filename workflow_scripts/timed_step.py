"""A step that records its own time and memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hones_core.job_timer import record_file, recorded
from workflow_scripts.step import step


@contextmanager
def timed_step(snakemake: Any) -> Iterator[None]:
    """As `step`, for rules that Snakemake does not measure."""
    with step(snakemake), recorded(record_file(snakemake.log[0])):
        yield
