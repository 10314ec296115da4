"""Activation statistics of every neuron."""

from hones_core import artifacts
from hones_core.attribution.activations import measure_activations
from hones_core.schemas.neurons import ACTIVATION_STATISTICS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    instances = read_instances(snakemake, ("discovery",), cfg["samples"])
    statistics = measure_activations(
        open_evaluator(snakemake),
        instances,
        aggregate=cfg["aggregate"],
        activation=cfg["activation"],
        threshold=cfg["threshold"],
    )
    artifacts.write(snakemake.output[0], statistics, ACTIVATION_STATISTICS, provenance(snakemake))
