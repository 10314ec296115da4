"""What the scripts share that measure what heads do to neurons."""

from collections.abc import Sequence

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.attribution.neuron_effects import Disruption, measure_neuron_effects
from hones_core.shards import heads_of_shard
from workflow_scripts.model_step import (
    kept_parts,
    open_evaluator,
    read_instances,
    shard,
    share_provenance,
)
from workflow_scripts.task_jobs import TaskJob


def write_neuron_effects(
    job: TaskJob,
    heads: Sequence[tuple[int, int]],
    schema: Schema,
    disruption: Disruption | None = None,
) -> None:
    """Measure and write what the heads do to neurons, or the job's share of them."""
    cfg = job.params.cfg
    instances = read_instances(job, ("discovery",), cfg["samples"])
    with kept_parts(job) as parts:
        evaluator = open_evaluator(job)
        made_by = share_provenance(job, evaluator.prompt_chunks(instances), heads)
        effects = measure_neuron_effects(
            evaluator,
            instances,
            documents=read_instances(job, ("discovery",)),
            heads=heads_of_shard(heads, evaluator.adapter.n_layers, shard(job)),
            clip=cfg["clip"],
            positions=cfg["positions"],
            idf_tokens=cfg["idf_tokens"],
            disruption=disruption,
            parts=parts,
        )
        artifacts.write(job.output[0], effects, schema, made_by)
