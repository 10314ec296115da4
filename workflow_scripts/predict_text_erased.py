"""Test captions of images without their texts: unchanged, and with each overlap group silenced."""

from dataclasses import replace

from hones_core import artifacts
from hones_core.benchmark.images import require_images
from hones_core.benchmark.instance_objects import to_instances
from hones_core.masking import predict_masked
from hones_core.neuron_sets import GROUP_ITSELF, group_sets
from hones_core.schemas.benchmark import INSTANCES, TEXT_ERASED_IMAGES
from hones_core.schemas.masking import OVERLAP_GROUPS, TEXT_ERASED_PREDICTIONS
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator
from workflow_scripts.step import step

TASK = "caption"

with step(snakemake):
    cfg = snakemake.params.cfg
    erased = artifacts.read(snakemake.input.erased, TEXT_ERASED_IMAGES)
    files = erased.set_index("image_id")["file_name"]
    originals = to_instances(artifacts.read(snakemake.input.instances, INSTANCES))
    tested = [one for one in originals if one.split == "test"]
    instances = [replace(one, image=files[one.image_id]) for one in tested]
    require_images(cfg["image_folder"], [one.image for one in instances])
    evaluator = open_evaluator(snakemake, TASK, instances)
    sets = group_sets(
        artifacts.read(snakemake.input.groups, OVERLAP_GROUPS),
        TASK,
        cfg["tasks"],
        shape=(evaluator.adapter.n_layers, evaluator.adapter.n_neurons),
        random_trials=cfg["random_trials"],
        random_control=cfg["random_control"],
        seed=cfg["seed"],
    )
    with kept_parts(snakemake) as parts:
        predictions = predict_masked(
            evaluator, instances, sets, ("group", "trial"), parts, unchanged=("", GROUP_ITSELF)
        )
        made = made_by(snakemake, evaluator)
        artifacts.write(snakemake.output[0], predictions, TEXT_ERASED_PREDICTIONS, made)
