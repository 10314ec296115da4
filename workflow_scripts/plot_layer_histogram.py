"""Where each ranker's top neurons lie, by layer."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures import layer_histogram
from hones_core.neuron_sets import budget
from hones_core.schemas.neurons import NEURON_RANKING
from workflow_scripts.step import step

with step(snakemake):
    cfg = snakemake.params.cfg
    rankings = {
        task: artifacts.read(path, NEURON_RANKING)
        for task, path in zip(cfg["tasks"], snakemake.input, strict=True)
    }
    any_ranking = rankings[cfg["tasks"][0]]
    n_selected = budget(int(any_ranking["rank"].max()) + 1, cfg["top_ratio"])
    figure = layer_histogram(rankings, n_selected, snakemake.wildcards.model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
