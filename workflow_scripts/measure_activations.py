"""Activation statistics of every neuron."""

from hones_core import artifacts
from hones_core.attribution.activations import measure_activations
from hones_core.schemas.neurons import ACTIVATION_STATISTICS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        instances = read_instances(job, ("discovery",), cfg["samples"])
        statistics = measure_activations(
            open_evaluator(job),
            instances,
            aggregate=cfg["aggregate"],
            activation=cfg["activation"],
            threshold=cfg["threshold"],
        )
        artifacts.write(job.output[0], statistics, ACTIVATION_STATISTICS, provenance(job))
