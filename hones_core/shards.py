"""One measurement shared by several jobs: each takes a block of chunks; the results are joined.

A job's share is made of whole chunks, so that every batch, and with it every rounding, is that of
one job alone. Sums over instances would be rounded otherwise in parts: where they are measured, a
share is made of the heads of whole layers, which the engine runs together. Either way the joined
artifact has the same bytes whatever the number of jobs. Jobs that divide the work differently,
because their devices allow other batches, are found out when they are joined.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import ArtifactError, Schema
from hones_core.partial import fingerprint
from hones_core.schemas.heads import BASE

Item = TypeVar("Item")
OWN = ("shard", "division")  # what only the artifact of one of several jobs says of itself


def shard_of(chunks: Sequence[Sequence[Item]], shard: tuple[int, int]) -> list[Item]:
    """What is in the chunks of one job: `shard` = (index from 0, number of jobs).

    Blocks are contiguous and differ by at most one chunk; with more jobs than chunks some are
    empty. Raises ValueError for a shard that does not exist.
    """
    index, count = _existing(shard)
    first, last = (len(chunks) * edge // count for edge in (index, index + 1))
    return [item for chunk in chunks[first:last] for item in chunk]


def heads_of_shard(
    heads: Sequence[tuple[int, int]], n_layers: int, shard: tuple[int, int]
) -> list[tuple[int, int]]:
    """The heads (layer, head) of one job, in the given order; `shard` as above.

    The heads of a layer stay together. A head costs as many layers as follow it, its own included;
    the costliest layer that is left goes to the job that has least to do. With more jobs than
    layers some have no head. Raises ValueError for a shard that does not exist.
    """
    index, count = _existing(shard)
    cost = Counter[int]()
    for layer, _ in heads:
        cost[layer] += n_layers - layer
    load, job_of = [0] * count, {}
    for layer in sorted(cost, key=lambda layer: (-cost[layer], layer)):
        job_of[layer] = load.index(min(load))
        load[job_of[layer]] += cost[layer]
    return [place for place in heads if job_of[place[0]] == index]


def shard_provenance(
    provenance: dict[str, Any],
    chunks: Sequence[Sequence[str]],
    shard: tuple[int, int],
    heads: Sequence[tuple[int, int]] = (),
) -> dict[str, Any]:
    """The provenance of a job's artifact, with its shard and how the work was divided.

    `chunks` holds the instance ids of the whole work, `heads` its heads where jobs share them. A
    single job has nothing to say.
    """
    if shard[1] == 1:
        return provenance
    division = fingerprint([chunks, list(heads), shard[1]])
    return {**provenance, "shard": shard[0], "division": division}


def join_shards(paths: Sequence[str | Path], schema: Schema) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The rows of all jobs' artifacts, and the provenance that they share.

    Raises ArtifactError unless they are all shards of one division of the same instances, made by
    the same code, configuration and versions.
    """
    frames, made_by = _read_shards(paths, schema)
    return pd.concat(frames, ignore_index=True), made_by


def join_head_shards(
    paths: Sequence[str | Path], schema: Schema
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """As `join_shards`, of jobs that share the heads: each holds the base run, which is kept once.

    Raises ArtifactError, too, if a base run differs in a single bit from that of the first job.
    """
    frames, made_by = _read_shards(paths, schema)
    bases = [frame[frame["head_layer"] == BASE].reset_index(drop=True) for frame in frames]
    for path, base in zip(paths, bases, strict=True):
        if not base.equals(bases[0]):
            raise ArtifactError(
                f"{path} and {paths[0]} differ in the run that disturbs no head: their jobs ran on "
                "devices that round differently. Take one kind (`constraint` in the profile) and "
                f"{artifacts.make_again(schema, *paths)}"
            )
    heads = [frame[frame["head_layer"] != BASE] for frame in frames]
    return pd.concat([bases[0], *heads], ignore_index=True), made_by


def _existing(shard: tuple[int, int]) -> tuple[int, int]:
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard {index} of {count} does not exist")
    return shard


def _read_shards(
    paths: Sequence[str | Path], schema: Schema
) -> tuple[list[pd.DataFrame], dict[str, Any]]:
    """The jobs' rows, and the provenance that they share; raises what `join_shards` raises."""
    frames = [artifacts.read(path, schema) for path in paths]
    made_by = [artifacts.provenance(path) for path in paths]
    shared = [_shared(provenance) for provenance in made_by]
    remedy = artifacts.make_again(schema, *paths)
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
    return frames, shared[0]


def _shared(provenance: dict[str, Any]) -> dict[str, Any]:
    """What the artifact of a single job would say."""
    wildcards = {key: value for key, value in provenance["wildcards"].items() if key != "shard"}
    kept = {key: value for key, value in provenance.items() if key not in OWN}
    return {**kept, "wildcards": wildcards}
