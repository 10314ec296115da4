"""Test predictions of each task with every task's neurons, and random sets, silenced."""

from hones_core import artifacts
from hones_core.masking import predict_masked
from hones_core.neuron_sets import selectivity_sets, source_sets
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS, SELECTIVITY_PREDICTIONS
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator, read_instances
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        evaluator = open_evaluator(job)
        sources = source_sets(
            artifacts.read(job.input.groups, OVERLAP_GROUPS),
            artifacts.read(job.input.dominant, DOMINANT_GROUPS),
            cfg["tasks"],
        )
        sets = selectivity_sets(
            sources,
            shape=(evaluator.adapter.n_layers, evaluator.adapter.n_neurons),
            random_trials=cfg["random_trials"],
            random_control=cfg["random_control"],
            seed=cfg["seed"],
        )
        instances = read_instances(job, ("test",))
        with kept_parts(job) as parts:
            labels = ("source_task", "kind", "trial")
            predictions = predict_masked(evaluator, instances, sets, labels, parts)
            made = made_by(job, evaluator)
            artifacts.write(job.output[0], predictions, SELECTIVITY_PREDICTIONS, made)
