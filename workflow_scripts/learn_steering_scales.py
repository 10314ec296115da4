"""Learn the scales of a task's bank on the development split."""

import pandas as pd

from hones_core import artifacts
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS
from hones_core.schemas.neurons import NEURON_RANKING
from hones_core.schemas.steering import STEERING_CURVE, STEERING_SCALES
from hones_core.steering import Bank, Training, choose_bank, learn_scales
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = dict(snakemake.params.cfg["steering"])
    task = snakemake.wildcards.task
    neurons, source = choose_bank(
        task,
        artifacts.read(snakemake.input.groups, OVERLAP_GROUPS),
        artifacts.read(snakemake.input.dominant, DOMINANT_GROUPS),
        artifacts.read(snakemake.input.ranking, NEURON_RANKING),
        size=cfg.pop("bank_size"),
        without_shared_group=cfg.pop("bank_without_shared_group"),
    )
    bank = Bank(neurons)
    amplified = cfg.pop("fixed_amplification") - 1
    instances = read_instances(snakemake, ("development",))
    scales, curve = learn_scales(
        open_evaluator(snakemake),
        instances,
        bank,
        Training(**cfg, seed=snakemake.params.cfg["seed"]),
    )
    methods = pd.concat(
        [
            bank.frame("fixed_amp", [amplified] * len(bank.neurons)),
            bank.frame("hones", scales),
        ]
    )
    made = {**provenance(snakemake), "bank": source}
    artifacts.write(snakemake.output.scales, methods, STEERING_SCALES, made)
    artifacts.write(snakemake.output.curve, curve, STEERING_CURVE, made)
