"""Predictions of the unchanged model on every split."""

from hones_core import artifacts
from hones_core.masking import predict_base
from hones_core.schemas.heads import BASE_PREDICTIONS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    instances = read_instances(snakemake, ("discovery", "development", "test"))
    predictions = predict_base(open_evaluator(snakemake), instances)
    artifacts.write(snakemake.output[0], predictions, BASE_PREDICTIONS, provenance(snakemake))
