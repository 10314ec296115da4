"""Test predictions of every steering method, and of the task under the other tasks' scales."""

from hones_core import artifacts
from hones_core.schemas.steering import (
    SIDE_EFFECT_PREDICTIONS,
    STEERED_PREDICTIONS,
    STEERING_SCALES,
)
from hones_core.steering.prediction import predict_steered
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator, read_instances
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        paths = zip(job.params.cfg["tasks"], job.input.every_scale, strict=True)
        others = {task: artifacts.read(path, STEERING_SCALES) for task, path in paths}
        own = others.pop(job.wildcards.task)
        instances = read_instances(job, ("test",))
        with kept_parts(job) as parts:
            evaluator = open_evaluator(job)
            steered, side = predict_steered(evaluator, instances, own, others, parts)
            made = made_by(job, evaluator)
            artifacts.write(job.output.steered_predictions, steered, STEERED_PREDICTIONS, made)
            path = job.output.side_effect_predictions
            artifacts.write(path, side, SIDE_EFFECT_PREDICTIONS, made)
