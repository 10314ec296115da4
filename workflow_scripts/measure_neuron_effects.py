"""Write-in contributions, and their drop under each selected head."""

from hones_core import artifacts
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.neurons import NEURON_EFFECTS
from workflow_scripts.model_step import kept_parts, open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    heads = artifacts.read(snakemake.input.heads, HEAD_RANKING).query("selected")
    instances = read_instances(snakemake, ("discovery",), cfg["samples"])
    with kept_parts(snakemake) as parts:
        effects = measure_neuron_effects(
            open_evaluator(snakemake),
            instances,
            documents=read_instances(snakemake, ("discovery",)),
            heads=list(zip(heads["layer"].tolist(), heads["head"].tolist(), strict=True)),
            clip=cfg["clip"],
            positions=cfg["positions"],
            idf_tokens=cfg["idf_tokens"],
            parts=parts,
        )
        artifacts.write(snakemake.output[0], effects, NEURON_EFFECTS, provenance(snakemake))
