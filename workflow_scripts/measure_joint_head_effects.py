"""What discovery instances of several tasks lose with each head mean-replaced, image by image."""

from hones_core import artifacts
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.joint import JointEvaluator
from hones_core.heads import measure_head_effects
from hones_core.schemas.heads import HEAD_EFFECTS
from workflow_scripts.model_step import choose_instances, kept_parts, open_evaluator, own_share
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
        first = open_evaluator(
            snakemake, tasks[0], [one for one in instances if one.task == tasks[0]]
        )
        others = [
            Evaluator(
                first.adapter,
                task,
                first.image_folder,
                first.batch_size,
                first.max_new_tokens,
                limits=first.limits,
                close_margin=first.close_margin,
            )
            for task in tasks[1:]
        ]
        joint = JointEvaluator([first, *others])
        own, made_by = own_share(snakemake, joint, instances)
        effects = measure_head_effects(joint, own, cfg["positions"], parts)
        for task in tasks:
            names = [one.instance_id for one in own if one.task == task]
            rows = effects[effects["instance_id"].isin(names)]
            artifacts.write(snakemake.output[task], rows, HEAD_EFFECTS, made_by)
