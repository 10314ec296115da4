"""Drop against the number of top heads mean-replaced together."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures_sweeps import head_budget_curves
from hones_core.schemas.sweeps import HEAD_BUDGET
from workflow_scripts.step import step

with step(snakemake):
    table = artifacts.read(snakemake.input[0], HEAD_BUDGET)
    model = snakemake.wildcards.model
    figure = head_budget_curves(table[table["model"] == model], model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
