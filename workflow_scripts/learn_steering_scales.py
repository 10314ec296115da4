"""Learn the scales of a task's bank on the development split."""

import pandas as pd

from hones_core import artifacts
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS
from hones_core.schemas.neurons import NEURON_RANKING
from hones_core.schemas.steering import STEERING_CURVE, STEERING_SCALES
from hones_core.steering import Bank, Training, choose_bank, learn_scales
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = dict(job.params.cfg["steering"])
        task = job.wildcards.task
        neurons, source = choose_bank(
            task,
            artifacts.read(job.input.groups, OVERLAP_GROUPS),
            artifacts.read(job.input.dominant, DOMINANT_GROUPS),
            artifacts.read(job.input.ranking, NEURON_RANKING),
            size=cfg.pop("bank_size"),
            without_shared_group=cfg.pop("bank_without_shared_group"),
        )
        bank = Bank(neurons)
        amplified = cfg.pop("fixed_amplification") - 1
        instances = read_instances(job, ("development",))
        scales, curve = learn_scales(
            open_evaluator(job),
            instances,
            bank,
            Training(**cfg, seed=job.params.cfg["seed"]),
        )
        methods = pd.concat(
            [
                bank.frame("fixed_amp", [amplified] * len(bank.neurons)),
                bank.frame("hones", scales),
            ]
        )
        made = {**provenance(job), "bank": source}
        artifacts.write(job.output.steering_scales, methods, STEERING_SCALES, made)
        artifacts.write(job.output.steering_curve, curve, STEERING_CURVE, made)
