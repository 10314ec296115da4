"""What each discovery instance loses with each head mean-replaced."""

from hones_core import artifacts
from hones_core.heads import measure_head_effects
from hones_core.schemas.heads import HEAD_EFFECTS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    instances = read_instances(snakemake, ("discovery",), cfg["samples"])
    effects = measure_head_effects(open_evaluator(snakemake), instances, cfg["positions"])
    artifacts.write(snakemake.output[0], effects, HEAD_EFFECTS, provenance(snakemake))
