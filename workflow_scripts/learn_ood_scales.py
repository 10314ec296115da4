"""Learn scales anew on the tuning part of every division of an out-of-distribution set."""

from dataclasses import replace

from hones_core import artifacts
from hones_core.benchmark.images import require_images
from hones_core.benchmark.instance_objects import to_instances
from hones_core.schemas.ood import OOD_INSTANCES, OOD_SPLITS, OOD_TUNED_SCALES
from hones_core.schemas.steering import STEERING_SCALES, STEERING_SEARCH
from hones_core.steering.options import training_from
from hones_core.steering.transfer import learn_anew
from hones_core.tasks.ood_sets import OOD_SETS
from workflow_scripts.model_step import kept_parts, open_evaluator
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    instances = to_instances(artifacts.read(snakemake.input.instances, OOD_INSTANCES))
    require_images(cfg["image_folder"], [one.image for one in instances])
    search = artifacts.read(snakemake.input.search, STEERING_SEARCH)
    chosen = search[(search["method"] == "hones") & search["chosen"]].iloc[0]
    training = training_from(cfg["steering"], cfg["seed"])
    with kept_parts(snakemake) as parts:
        scales = learn_anew(
            open_evaluator(snakemake, OOD_SETS[snakemake.wildcards.ood_set].task, instances),
            instances,
            artifacts.read(snakemake.input.splits, OOD_SPLITS),
            artifacts.read(snakemake.input.scales, STEERING_SCALES),
            replace(training, kl_weight=float(chosen["kl_weight"])),
            cfg["steering"]["quick"],
            parts,
        )
        artifacts.write(snakemake.output[0], scales, OOD_TUNED_SCALES, provenance(snakemake))
