"""Test predictions of every steering method."""

from hones_core import artifacts
from hones_core.schemas.steering import STEERED_PREDICTIONS, STEERING_SCALES
from hones_core.steering import predict_steered
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    scales = artifacts.read(snakemake.input.scales, STEERING_SCALES)
    instances = read_instances(snakemake, ("test",))
    predictions = predict_steered(open_evaluator(snakemake), instances, scales)
    artifacts.write(snakemake.output[0], predictions, STEERED_PREDICTIONS, provenance(snakemake))
