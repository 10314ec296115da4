"""Test predictions of every steering method."""

from hones_core import artifacts
from hones_core.schemas.steering import STEERED_PREDICTIONS, STEERING_SCALES
from hones_core.steering import predict_steered
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        scales = artifacts.read(job.input.scales, STEERING_SCALES)
        instances = read_instances(job, ("test",))
        predictions = predict_steered(open_evaluator(job), instances, scales)
        artifacts.write(job.output[0], predictions, STEERED_PREDICTIONS, provenance(job))
