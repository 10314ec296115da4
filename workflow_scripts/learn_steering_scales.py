"""Learn the scales of a task's bank, and of what it is compared with, on the development split."""

from hones_core import artifacts
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS
from hones_core.schemas.neurons import HONES_ORDER, NEURON_RANKING
from hones_core.schemas.steering import (
    STEERING_CURVE,
    STEERING_GATES,
    STEERING_SCALES,
    STEERING_SEARCH,
)
from hones_core.steering.bank import Bank, choose_bank
from hones_core.steering.methods import learn_methods
from hones_core.steering.options import options_from, training_from
from workflow_scripts.model_step import kept_parts, made_by, open_evaluator, read_instances
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg, seed = job.params.cfg["steering"], job.params.cfg["seed"]
        groups = artifacts.read(job.input.groups, OVERLAP_GROUPS)
        dominant = artifacts.read(job.input.dominant, DOMINANT_GROUPS)
        ranking = artifacts.read(job.input.ranking, NEURON_RANKING, HONES_ORDER)
        chosen = [
            choose_bank(
                job.wildcards.task,
                groups,
                dominant,
                ranking,
                size,
                cfg["bank_without_shared_group"],
                cfg["bank"],
            )
            for size in cfg["bank_sizes"]
        ]
        distinct = dict.fromkeys(neurons for neurons, _ in chosen)  # a group may be smaller
        with kept_parts(job) as parts:
            evaluator = open_evaluator(job)
            learned = learn_methods(
                evaluator,
                read_instances(job, ("development",)),
                [Bank(neurons) for neurons in distinct],
                training_from(cfg, seed),
                options_from(cfg, seed),
                parts,
            )
            adapter = evaluator.adapter
            made = {
                **made_by(job, evaluator),
                "bank": chosen[0][1],
                "shape": {"layers": adapter.n_layers, "neurons": adapter.n_neurons},
                "architecture": type(adapter.model).__name__,
            }
            for frame, schema in (
                (learned.curve, STEERING_CURVE),
                (learned.gates, STEERING_GATES),
                (learned.search, STEERING_SEARCH),
                (learned.scales, STEERING_SCALES),
            ):
                artifacts.write(getattr(job.output, schema.name), frame, schema, made)
