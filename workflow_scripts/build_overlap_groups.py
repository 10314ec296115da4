"""The membership pattern of every neuron in a task's top set."""

from hones_core import artifacts
from hones_core.neuron_sets import overlap_groups, top_set
from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.neurons import HONES_ORDER, NEURON_RANKING
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    rankings = {
        task: artifacts.read(snakemake.input[task], NEURON_RANKING, HONES_ORDER)
        for task in cfg["tasks"]
    }
    sets = {task: top_set(ranking, "hones", cfg["top_ratio"]) for task, ranking in rankings.items()}
    artifacts.write(
        snakemake.output[0], overlap_groups(sets), OVERLAP_GROUPS, provenance(snakemake)
    )
