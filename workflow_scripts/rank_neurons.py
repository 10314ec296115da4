"""Every ranker's order of all neurons."""

from hones_core import artifacts
from hones_core.attribution.rankers import Measurements, Options, rank_neurons
from hones_core.schemas import rankers
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.neurons import ACTIVATION_STATISTICS, NEURON_EFFECTS, NEURON_RANKING
from workflow_scripts.step import provenance, step

FIELDS = {  # the artifact of each field of Measurements
    "head_ranking": HEAD_RANKING,
    "neuron_effects": NEURON_EFFECTS,
    "activations": ACTIVATION_STATISTICS,
    "random_head_effects": rankers.RANDOM_HEAD_EFFECTS,
    "gaussian_effects": rankers.GAUSSIAN_EFFECTS,
    "dla_scores": rankers.DLA_SCORES,
    "group_patching_effects": rankers.GROUP_PATCHING_EFFECTS,
    "qrnca_scores": rankers.QRNCA_SCORES,
    "llm_knowledge_scores": rankers.LLM_KNOWLEDGE_SCORES,
}

with step(snakemake):
    cfg = snakemake.params.cfg
    files = dict(snakemake.input.items())
    statistics = {
        task: artifacts.read(path, ACTIVATION_STATISTICS)
        for task, path in zip(cfg["tasks"], files.get("every_task", []), strict=False)
    }
    measured = Measurements(
        task=snakemake.wildcards.task,
        task_activations=statistics,
        options=Options(**cfg["options"]),
        **{
            field: artifacts.read(files[schema.name], schema)
            for field, schema in FIELDS.items()
            if schema.name in files
        },
    )
    ranking = rank_neurons(measured, cfg["rankers"], cfg["seeds"])
    artifacts.write(snakemake.output[0], ranking, NEURON_RANKING, provenance(snakemake))
