"""How many neurons each overlap group has."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures_group_sizes import group_sizes
from hones_core.schemas.masking import OVERLAP_GROUPS
from workflow_scripts.step import step

with step(snakemake):
    groups = artifacts.read(snakemake.input[0], OVERLAP_GROUPS)
    figure = group_sizes(groups, snakemake.params.cfg["tasks"], snakemake.wildcards.model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
