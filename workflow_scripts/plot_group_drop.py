"""Bars of the drop with each overlap group silenced, beside its random control."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures import group_bars
from hones_core.schemas.tables import GROUP_DROP
from workflow_scripts.step import step

with step(snakemake):
    table = artifacts.read(snakemake.input[0], GROUP_DROP)
    model = snakemake.wildcards.model
    figure = group_bars(table[table["model"] == model], model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
