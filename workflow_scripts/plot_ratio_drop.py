"""Drop against the share of neurons masked."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures_sweeps import ratio_curves
from hones_core.schemas.sweeps import RATIO_DROP
from workflow_scripts.step import step

with step(snakemake):
    table = artifacts.read(snakemake.input[0], RATIO_DROP)
    model = snakemake.wildcards.model
    figure = ratio_curves(table[table["model"] == model], model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
