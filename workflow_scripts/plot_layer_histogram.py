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
    tops = {}
    for task, path in zip(cfg["tasks"], snakemake.input, strict=True):
        ranking = artifacts.read(path, NEURON_RANKING)
        n_selected = budget(int(ranking["rank"].max()) + 1, cfg["top_ratio"])
        n_layers = int(ranking["layer"].max()) + 1
        tops[task] = ranking[ranking["rank"] < n_selected]  # a hundredth of what was read
    figure = layer_histogram(tops, n_selected, n_layers, snakemake.wildcards.model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
