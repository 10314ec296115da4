"""The effects of heads on neurons, of all shards, as one artifact."""

from hones_core import artifacts
from hones_core.schemas.neurons import NEURON_EFFECTS
from hones_core.schemas.rankers import GAUSSIAN_EFFECTS, RANDOM_HEAD_EFFECTS
from hones_core.shards import join_head_shards
from workflow_scripts.step import step

SCHEMAS = {one.name: one for one in (NEURON_EFFECTS, RANDOM_HEAD_EFFECTS, GAUSSIAN_EFFECTS)}

with step(snakemake):
    schema = SCHEMAS[snakemake.wildcards.effects]
    joined, provenance = join_head_shards(snakemake.input, schema)
    artifacts.write(snakemake.output[0], joined, schema, provenance)
