"""Test predictions of a toy model with all, its top and random feed-forward neurons silenced."""

from hones_core import artifacts
from hones_core.masking import predict_masked
from hones_core.schemas.neurons import NEURON_EFFECTS
from hones_core.schemas.toy import TOY_CHECK_PREDICTIONS
from hones_core.toy.check import sets_to_mask
from workflow_scripts.model_step import made_by, open_evaluator, read_instances
from workflow_scripts.step import step

with step(snakemake):
    effects = artifacts.read(snakemake.input.effects, NEURON_EFFECTS)
    sets = sets_to_mask(effects, snakemake.params.cfg["seed"])
    instances = read_instances(snakemake, ("test",))
    evaluator = open_evaluator(snakemake)
    predictions = predict_masked(evaluator, instances, sets, ("setting", "trial"))
    made = made_by(snakemake, evaluator)
    artifacts.write(snakemake.output[0], predictions, TOY_CHECK_PREDICTIONS, made)
