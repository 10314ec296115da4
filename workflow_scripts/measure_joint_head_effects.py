"""What discovery instances of several tasks lose with each head mean-replaced, image by image."""

from hones_core import artifacts
from hones_core.engine.joint import JointEvaluator
from hones_core.heads import measure_head_effects
from hones_core.schemas.heads import HEAD_EFFECTS
from workflow_scripts.model_step import (
    choose_instances,
    kept_parts,
    own_share,
    plan_sizes,
    unplanned_evaluator,
)
from workflow_scripts.timed_step import timed_step

with timed_step(snakemake):
    cfg = snakemake.params.cfg
    instances = [
        one
        for task, samples in cfg["samples"].items()
        for one in choose_instances(
            snakemake.input[task], task, ("discovery",), samples, cfg["image_folder"]
        )
    ]
    with kept_parts(snakemake) as parts:
        tasks = list(cfg["samples"])
        joint = JointEvaluator([unplanned_evaluator(snakemake, task) for task in tasks])
        plan_sizes(snakemake, joint, instances)  # for all questions about an image in one row
        own, made_by = own_share(snakemake, joint, instances)
        effects = measure_head_effects(joint, own, cfg["positions"], parts)
        for task in tasks:
            names = [one.instance_id for one in own if one.task == task]
            rows = effects[effects["instance_id"].isin(names)]
            artifacts.write(snakemake.output[task], rows, HEAD_EFFECTS, made_by)
