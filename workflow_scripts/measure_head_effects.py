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
from workflow_scripts.step import step

with step(snakemake):
    cfg = snakemake.params.cfg
    instances = read_instances(snakemake, ("discovery",), cfg["samples"])
    with kept_parts(snakemake) as parts:
        evaluator = open_evaluator(snakemake)
        instances, made_by = own_share(snakemake, evaluator, instances)
        screening = Screening(**cfg["screening"]) if cfg["screening"] else None
        effects = measure_head_effects(evaluator, instances, cfg["positions"], parts, screening)
        artifacts.write(snakemake.output[0], effects, HEAD_EFFECTS, made_by)
