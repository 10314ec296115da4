"""Which tasks lose what when one task's neurons are silenced."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures_selectivity import selectivity_matrix
from hones_core.schemas.selectivity import SELECTIVITY
from workflow_scripts.step import step

with step(snakemake):
    table = artifacts.read(snakemake.input[0], SELECTIVITY)
    model = snakemake.wildcards.model
    figure = selectivity_matrix(table[table["model"] == model], model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
