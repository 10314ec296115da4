"""One out-of-distribution set under in-domain scales and under those learned anew."""

from hones_core import artifacts
from hones_core.benchmark.images import require_images
from hones_core.benchmark.instance_objects import to_instances
from hones_core.schemas.ood import (
    OOD_INSTANCES,
    OOD_SPLITS,
    OOD_STEERED_PREDICTIONS,
    OOD_TUNED_SCALES,
)
from hones_core.schemas.steering import STEERING_SCALES
from hones_core.steering.transfer import predict_ood_steered
from hones_core.tasks.ood_sets import OOD_SETS
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator
from workflow_scripts.step import step

with step(snakemake):
    ood_set = snakemake.wildcards.ood_set
    instances = to_instances(artifacts.read(snakemake.input.instances, OOD_INSTANCES))
    require_images(snakemake.params.cfg["image_folder"], [one.image for one in instances])
    with kept_parts(snakemake) as parts:
        evaluator = open_evaluator(snakemake, OOD_SETS[ood_set].task, instances)
        predictions = predict_ood_steered(
            evaluator,
            ood_set,
            instances,
            artifacts.read(snakemake.input.splits, OOD_SPLITS),
            artifacts.read(snakemake.input.scales, STEERING_SCALES),
            artifacts.read(snakemake.input.tuned, OOD_TUNED_SCALES),
            parts,
        )
        made = made_by(snakemake, evaluator)
        artifacts.write(snakemake.output[0], predictions, OOD_STEERED_PREDICTIONS, made)
