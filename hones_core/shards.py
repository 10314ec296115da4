"""One measurement shared by several jobs: each takes a block of chunks; the results are joined.

A job's share is made of whole chunks, so that every batch, and with it every rounding, is that of
one job alone. The joined artifact has the same bytes whatever the number of jobs. Jobs that divide
the work differently, because their devices allow other batches, are found out when they are joined.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import ArtifactError, Schema
from hones_core.partial import fingerprint

Item = TypeVar("Item")
OWN = ("shard", "division")  # what only the artifact of one of several jobs says of itself


def shard_of(chunks: Sequence[Sequence[Item]], shard: tuple[int, int]) -> list[Item]:
    """What is in the chunks of one job: `shard` = (index from 0, number of jobs).

    Blocks are contiguous and differ by at most one chunk; with more jobs than chunks some are
    empty. Raises ValueError for a shard that does not exist.
    """
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard {index} of {count} does not exist")
    first, last = (len(chunks) * edge // count for edge in (index, index + 1))
    return [item for chunk in chunks[first:last] for item in chunk]


def shard_provenance(
    provenance: dict[str, Any], chunks: Sequence[Sequence[str]], shard: tuple[int, int]
) -> dict[str, Any]:
    """The provenance of a job's artifact, with its shard and how the work was divided.

    `chunks` holds the instance ids of the whole work. A single job has nothing to say.
    """
    if shard[1] == 1:
        return provenance
    return {**provenance, "shard": shard[0], "division": fingerprint([chunks, shard[1]])}


def join_shards(paths: Sequence[str | Path], schema: Schema) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of all jobs' artifacts, and the provenance that they share.

    Raises ArtifactError unless they are all shards of one division of the same instances, made by
    the same code, configuration and versions.
    """
    frames = [artifacts.read(path, schema) for path in paths]
    made_by = [artifacts.provenance(path) for path in paths]
    shared = [_shared(provenance) for provenance in made_by]
    remedy = f"run again: snakemake --forcerun {schema.rule}"
    for path, provenance, other in zip(paths, made_by, shared, strict=True):
        if other != shared[0]:
            raise ArtifactError(
                f"{path} and {paths[0]} were not made by the same code, configuration and "
                f"versions; {remedy}"
            )
        if provenance["division"] != made_by[0]["division"]:
            raise ArtifactError(
                f"the jobs of {path} and {paths[0]} divided the instances differently: set "
                f"batch_size of the model, so that no job plans it from its memory, and {remedy}"
            )
    if [provenance["shard"] for provenance in made_by] != list(range(len(paths))):
        raise ArtifactError(f"not every shard is there once among {paths}; {remedy}")
    return pd.concat(frames, ignore_index=True), shared[0]


def _shared(provenance: dict[str, Any]) -> dict[str, Any]:
    """What the artifact of a single job would say."""
    wildcards = {key: value for key, value in provenance["wildcards"].items() if key != "shard"}
    kept = {key: value for key, value in provenance.items() if key not in OWN}
    return {**kept, "wildcards": wildcards}
