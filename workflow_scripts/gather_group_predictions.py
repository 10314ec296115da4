"""The predictions with groups silenced of all shards as one artifact."""

from hones_core import artifacts
from hones_core.schemas.masking import GROUP_PREDICTIONS
from hones_core.shards import join_shards
from workflow_scripts.step import step

with step(snakemake):
    joined, provenance = join_shards(snakemake.input, GROUP_PREDICTIONS)
    artifacts.write(snakemake.output[0], joined, GROUP_PREDICTIONS, provenance)
