"""What each discovery instance loses with each head mean-replaced."""

from hones_core import artifacts
from hones_core.heads import measure_head_effects
from hones_core.schemas.heads import HEAD_EFFECTS
from hones_core.screening import Screening
from workflow_scripts.model_step import (
    kept_parts,
    open_evaluator,
    own_share,
    read_instances,
)
from workflow_scripts.task_jobs import task_jobs
from workflow_scripts.timed_step import timed_step

with timed_step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        instances = read_instances(job, ("discovery",), cfg["samples"])
        with kept_parts(job) as parts:
            evaluator = open_evaluator(job)
            instances, made_by = own_share(job, evaluator, instances)
            screening = Screening(**cfg["screening"]) if cfg["screening"] else None
            effects = measure_head_effects(evaluator, instances, cfg["positions"], parts, screening)
            artifacts.write(job.output[0], effects, HEAD_EFFECTS, made_by)
