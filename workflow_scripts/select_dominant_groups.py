"""Each task's shared group whose loss hurts most."""

from hones_core import artifacts
from hones_core.dominant_groups import select_dominant_groups
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import DOMINANT_GROUPS, GROUP_PREDICTIONS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    base = {
        task: artifacts.read(snakemake.input[f"base_{task}"], BASE_PREDICTIONS)
        for task in cfg["tasks"]
    }
    masked = {
        task: artifacts.read(snakemake.input[f"masked_{task}"], GROUP_PREDICTIONS)
        for task in cfg["tasks"]
    }
    dominant = select_dominant_groups(base, masked, cfg["select_on"])
    artifacts.write(snakemake.output[0], dominant, DOMINANT_GROUPS, provenance(snakemake))
