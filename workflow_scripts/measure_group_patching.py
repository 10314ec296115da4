"""What the answer's logit loses when groups of neurons are patched."""

from hones_core import artifacts
from hones_core.attribution.token_level.corruption import Corruption
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.schemas.rankers import GROUP_PATCHING_EFFECTS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    choice = cfg["group_patching"]
    effects = measure_group_patching(
        open_evaluator(snakemake),
        read_instances(snakemake, ("discovery",), cfg["samples"]),
        groups_per_layer=choice["groups_per_layer"],
        corruption=Corruption(choice["corruption"], choice["noise_multiple"], cfg["seed"]),
    )
    artifacts.write(snakemake.output[0], effects, GROUP_PATCHING_EFFECTS, provenance(snakemake))
