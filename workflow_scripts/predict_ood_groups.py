"""Each out-of-distribution set: the unchanged model, and each overlap group silenced."""

from hones_core import artifacts
from hones_core.benchmark.images import require_images
from hones_core.benchmark.instance_objects import to_instances
from hones_core.masking import predict_masked
from hones_core.neuron_sets import GROUP_ITSELF, group_sets
from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.ood import OOD_GROUP_PREDICTIONS, OOD_INSTANCES
from hones_core.tasks.ood_sets import OOD_SETS
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator
from workflow_scripts.step import step
from workflow_scripts.task_jobs import jobs_of

with step(snakemake):
    for job in jobs_of(snakemake, "ood_set"):
        cfg, ood_set = job.params.cfg, job.wildcards.ood_set
        instances = to_instances(artifacts.read(job.input.ood_instances, OOD_INSTANCES))
        require_images(cfg["image_folder"], [one.image for one in instances])
        evaluator = open_evaluator(job, OOD_SETS[ood_set].task, instances)
        sets = group_sets(
            artifacts.read(job.input.groups, OVERLAP_GROUPS),
            OOD_SETS[ood_set].in_domain_task,
            cfg["tasks"],
            shape=(evaluator.adapter.n_layers, evaluator.adapter.n_neurons),
            random_trials=cfg["random_trials"],
            random_control=cfg["random_control"],
            seed=cfg["seed"],
        )
        with kept_parts(job) as parts:
            predictions = predict_masked(
                evaluator, instances, sets, ("group", "trial"), parts, unchanged=("", GROUP_ITSELF)
            ).assign(ood_set=ood_set)
            made = made_by(job, evaluator)
            artifacts.write(job.output[0], predictions, OOD_GROUP_PREDICTIONS, made)
