"""Matrix of the top neurons that every two rankers have in common."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures_agreement import agreement_matrix
from hones_core.schemas.agreement import RANKER_AGREEMENT
from workflow_scripts.step import step

with step(snakemake):
    table = artifacts.read(snakemake.input[0], RANKER_AGREEMENT)
    model = snakemake.wildcards.model
    figure = agreement_matrix(table[table["model"] == model], model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
