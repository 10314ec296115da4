"""Predictions with each overlap group, and random sets of its size, silenced."""

import pandas as pd

from hones_core import artifacts
from hones_core.masking import predict_masked
from hones_core.neuron_sets import GROUP_ITSELF, group_sets
from hones_core.schemas.masking import GROUP_PREDICTIONS, OVERLAP_GROUPS
from workflow_scripts.model_step import (
    kept_parts,
    open_evaluator,
    own_share,
    read_instances,
)
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

SPLITS = ("development", "test")

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        instances = read_instances(job, SPLITS)
        evaluator = open_evaluator(job)
        instances, made_by = own_share(job, evaluator, instances)
        sets = group_sets(
            artifacts.read(job.input.groups, OVERLAP_GROUPS),
            job.wildcards.task,
            cfg["tasks"],
            shape=(evaluator.adapter.n_layers, evaluator.adapter.n_neurons),
            random_trials=cfg["random_trials"],
            random_control=cfg["random_control"],
            seed=cfg["seed"],
        )
        split = {instance.instance_id: instance.split for instance in instances}
        # The dominant group is chosen on development by the groups' own drops: no controls there.
        themselves = {label: neurons for label, neurons in sets.items() if label[1] == GROUP_ITSELF}
        with kept_parts(job) as parts:
            predictions = pd.concat(
                predict_masked(
                    evaluator,
                    [one for one in instances if one.split == name],
                    sets if name == "test" else themselves,
                    ("group", "trial"),
                    parts.within(name),
                )
                for name in SPLITS
            )
            predictions["split"] = predictions["instance_id"].map(split)
            artifacts.write(job.output[0], predictions, GROUP_PREDICTIONS, made_by)
