"""One measurement shared by several jobs: each takes a block of chunks; the results are joined.

A job's share is made of whole chunks, so that every batch, and with it every rounding, is that of
one job alone. The joined artifact has the same bytes whatever the number of jobs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import ArtifactError, Schema

Item = TypeVar("Item")


def shard_of(chunks: Sequence[Sequence[Item]], shard: tuple[int, int]) -> list[Item]:
    """What is in the chunks of one job: `shard` = (index from 0, number of jobs).

    The blocks are contiguous and differ by at most one chunk; with more jobs than chunks some are
    empty. Raises ValueError for a shard that does not exist.
    """
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard {index} of {count} does not exist")
    first, last = (len(chunks) * edge // count for edge in (index, index + 1))
    return [item for chunk in chunks[first:last] for item in chunk]


def join_shards(paths: Sequence[str | Path], schema: Schema) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of all jobs' artifacts, and the provenance that they share.

    Raises ArtifactError if they were made by different code, configuration or versions.
    """
    frames = [artifacts.read(path, schema) for path in paths]
    made_by = [_without_shard(artifacts.provenance(path)) for path in paths]
    for path, provenance in zip(paths, made_by, strict=True):
        if provenance != made_by[0]:
            raise ArtifactError(
                f"{path} and {paths[0]} were not made by the same code, configuration and "
                f"versions; run again: snakemake --forcerun {schema.rule}"
            )
    return pd.concat(frames, ignore_index=True), made_by[0]


def _without_shard(provenance: dict[str, Any]) -> dict[str, Any]:
    wildcards = {key: value for key, value in provenance["wildcards"].items() if key != "shard"}
    return {**provenance, "wildcards": wildcards}
