"""Predictions of the unchanged model on every split."""

from hones_core import artifacts
from hones_core.predictions import predict_base
from hones_core.schemas.heads import BASE_PREDICTIONS
from workflow_scripts.model_step import kept_parts, open_evaluator, read_instances
from workflow_scripts.step import provenance, step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        instances = read_instances(job, ("discovery", "development", "test"))
        with kept_parts(job) as parts:
            predictions = predict_base(open_evaluator(job), instances, parts)
            artifacts.write(job.output[0], predictions, BASE_PREDICTIONS, provenance(job))
