"""The unchanged model on one out-of-distribution set."""

from hones_core import artifacts
from hones_core.benchmark.images import require_images
from hones_core.benchmark.instance_objects import to_instances
from hones_core.ood import predict_ood
from hones_core.schemas.ood import OOD_INSTANCES, OOD_PREDICTIONS
from hones_core.tasks.ood_sets import OOD_SETS
from workflow_scripts.model_step import made_by, open_evaluator
from workflow_scripts.step import step

with step(snakemake):
    ood_set = snakemake.wildcards.ood_set
    instances = to_instances(artifacts.read(snakemake.input.instances, OOD_INSTANCES))
    require_images(snakemake.params.cfg["image_folder"], [i.image for i in instances])
    evaluator = open_evaluator(snakemake, OOD_SETS[ood_set].task, instances)
    predictions = predict_ood(evaluator, ood_set, instances)
    made = made_by(snakemake, evaluator)
    artifacts.write(snakemake.output[0], predictions, OOD_PREDICTIONS, made)
