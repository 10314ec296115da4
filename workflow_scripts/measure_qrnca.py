"""Integrated gradients of the answer's probability over every neuron."""

from hones_core import artifacts
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.schemas.rankers import QRNCA_SCORES
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    scores = measure_qrnca(
        open_evaluator(snakemake),
        read_instances(snakemake, ("discovery",), cfg["samples"]),
        steps=cfg["steps"],
        threshold=cfg["threshold"],
    )
    artifacts.write(snakemake.output[0], scores, QRNCA_SCORES, provenance(snakemake))
