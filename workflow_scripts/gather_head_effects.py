"""The head effects of all shards as one artifact."""

from hones_core import artifacts
from hones_core.schemas.heads import HEAD_EFFECTS
from hones_core.shards import join_shards
from workflow_scripts.step import step

with step(snakemake):
    joined, provenance = join_shards(snakemake.input, HEAD_EFFECTS)
    artifacts.write(snakemake.output[0], joined, HEAD_EFFECTS, provenance)
