"""Direct logit attribution of every neuron."""

from hones_core import artifacts
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.schemas.rankers import DLA_SCORES
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    instances = read_instances(snakemake, ("discovery",), snakemake.params.cfg["samples"])
    scores = measure_dla(open_evaluator(snakemake), instances)
    artifacts.write(snakemake.output[0], scores, DLA_SCORES, provenance(snakemake))
