"""What localization costs on samples of examples: work as an artifact, seconds as CSV."""

from pathlib import Path

from hones_core import artifacts
from hones_core.atomic import write_text
from hones_core.attribution.token_level.corruption import Corruption
from hones_core.efficiency import localizers, measure_efficiency, plain_passes
from hones_core.head_ranking import selected_heads
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.rankers import TOKEN_LAYERS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    patching = cfg["group_patching"]
    heads = selected_heads(artifacts.read(snakemake.input.heads, HEAD_RANKING))
    evaluator = open_evaluator(snakemake)
    methods = localizers(
        evaluator,
        read_instances(snakemake, ("discovery",)),
        heads,
        cfg["positions"],
        cfg["clip"],
        cfg["idf_tokens"],
        cfg["steps"],
        patching["groups_per_layer"],
        Corruption(patching["corruption"], patching["noise_multiple"], cfg["seed"]),
    )
    passes = plain_passes(evaluator.adapter, len(heads), cfg["steps"], patching["groups_per_layer"])
    work, seconds = measure_efficiency(
        evaluator,
        read_instances(snakemake, ("discovery",), cfg["samples"]),
        methods,
        passes,
        cfg["trials"],
        cfg["examples"],
        cfg["seed"],
    )
    artifacts.write(snakemake.output[0], work, TOKEN_LAYERS, provenance(snakemake))
    write_text(Path(snakemake.output.seconds), seconds.to_csv(index=False))
