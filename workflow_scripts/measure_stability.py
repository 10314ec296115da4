"""Agreement of each ranker's top neurons between random halves of the discovery samples."""

from functools import partial

from hones_core import artifacts
from hones_core.attribution.activations import measure_activations
from hones_core.attribution.measurements import Options
from hones_core.attribution.neuron_effects import (
    gaussian_noise,
    mean_replacement,
    measure_neuron_effects,
)
from hones_core.attribution.token_level.corruption import Corruption
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.attribution.token_level.llm_knowledge import measure_llm_knowledge
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.head_ranking import selected_heads
from hones_core.ranker_catalogue import artifacts_for
from hones_core.ranker_stability import divide, measure_stability
from hones_core.schemas.agreement import RANKER_STABILITY
from hones_core.schemas.heads import HEAD_RANKING
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step
from workflow_scripts.task_jobs import task_jobs


def measurements(evaluator, documents, heads, cfg):
    """{artifact: what measures it on some of the samples}, of all that a ranker may read."""

    def effects(instances, disruption):
        return measure_neuron_effects(
            evaluator,
            instances,
            documents=documents,
            heads=heads,
            clip=cfg["clip"],
            idf_tokens=cfg["idf_tokens"],
            disruption=disruption,
        )

    def patching(instances):
        choice = cfg["group_patching"]
        corruption = Corruption(choice["corruption"], choice["noise_multiple"], cfg["seed"])
        return measure_group_patching(evaluator, instances, choice["groups_per_layer"], corruption)

    def gradients(instances):
        choice = cfg["qrnca"]
        return measure_qrnca(evaluator, instances, choice["steps"], choice["threshold"])

    return {
        "neuron_effects": partial(effects, disruption=mean_replacement(cfg["positions"])),
        "gaussian_effects": partial(
            effects, disruption=gaussian_noise(cfg["positions"], cfg["seed"])
        ),
        "activation_statistics": lambda instances: measure_activations(
            evaluator, instances, cfg["aggregate"], cfg["activation"], cfg["threshold"]
        ),
        "dla_scores": partial(measure_dla, evaluator),
        "group_patching_effects": patching,
        "qrnca_scores": gradients,
        "llm_knowledge_scores": lambda instances: measure_llm_knowledge(
            evaluator, instances, cfg["llm_knowledge"]["variance"]
        ),
    }


with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        ranking = artifacts.read(job.input.heads, HEAD_RANKING)
        documents = read_instances(job, ("discovery",))
        needed, measures = artifacts_for(cfg["rankers"]), {}
        if needed:
            known = measurements(open_evaluator(job), documents, selected_heads(ranking), cfg)
            measures = {name: measure for name, measure in known.items() if name in needed}
        stability = measure_stability(
            divide(read_instances(job, ("discovery",), cfg["samples"]), cfg["parts"], 0),
            measures,
            ranking,
            cfg["rankers"],
            cfg["top_ratio"],
            cfg["draws"],
            cfg["clip"],
            cfg["seed"],
            Options(**cfg["options"]),
        )
        artifacts.write(job.output[0], stability, RANKER_STABILITY, provenance(job))
