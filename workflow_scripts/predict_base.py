"""Predictions of the unchanged model on every split."""

from hones_core import artifacts
from hones_core.predictions import predict_base
from hones_core.schemas.heads import BASE_PREDICTIONS
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator, read_instances
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        instances = read_instances(job, ("discovery", "development", "test"))
        with kept_parts(job) as parts:
            evaluator = open_evaluator(job)
            predictions = predict_base(evaluator, instances, parts)
            made = made_by(job, evaluator)
            artifacts.write(job.output[0], predictions, BASE_PREDICTIONS, made)
