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
from hones_core.ranker_catalogue import artifacts_for
from hones_core.ranker_stability import divide, measure_stability
from hones_core.schemas.agreement import RANKER_STABILITY
from hones_core.schemas.heads import HEAD_RANKING
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    ranking = artifacts.read(snakemake.input.heads, HEAD_RANKING)
    selected = ranking.query("selected")
    documents = read_instances(snakemake, ("discovery",))
    evaluator = open_evaluator(snakemake)

    def effects(instances, disruption):
        return measure_neuron_effects(
            evaluator,
            instances,
            documents=documents,
            heads=list(zip(selected["layer"].tolist(), selected["head"].tolist(), strict=True)),
            clip=cfg["clip"],
            idf_tokens=cfg["idf_tokens"],
            disruption=disruption,
        )

    choice = cfg["group_patching"]
    known = {
        "neuron_effects": partial(effects, disruption=mean_replacement(cfg["positions"])),
        "gaussian_effects": partial(
            effects, disruption=gaussian_noise(cfg["positions"], cfg["seed"])
        ),
        "activation_statistics": lambda instances: measure_activations(
            evaluator, instances, cfg["aggregate"], cfg["activation"], cfg["threshold"]
        ),
        "dla_scores": partial(measure_dla, evaluator),
        "group_patching_effects": partial(
            measure_group_patching,
            evaluator,
            groups_per_layer=choice["groups_per_layer"],
            corruption=Corruption(choice["corruption"], choice["noise_multiple"], cfg["seed"]),
        ),
        "qrnca_scores": partial(
            measure_qrnca,
            evaluator,
            steps=cfg["qrnca"]["steps"],
            threshold=cfg["qrnca"]["threshold"],
        ),
        "llm_knowledge_scores": partial(
            measure_llm_knowledge, evaluator, variance=cfg["llm_knowledge"]["variance"]
        ),
    }
    needed = artifacts_for(cfg["rankers"])
    stability = measure_stability(
        divide(read_instances(snakemake, ("discovery",), cfg["samples"]), cfg["parts"], 0),
        {name: measure for name, measure in known.items() if name in needed},
        ranking,
        cfg["rankers"],
        cfg["top_ratio"],
        cfg["draws"],
        cfg["clip"],
        cfg["seed"],
        Options(**cfg["options"]),
    )
    artifacts.write(snakemake.output[0], stability, RANKER_STABILITY, provenance(snakemake))
