"""Logits lost at each layer by target, format and other tokens."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures_lens import lens_curves
from hones_core.schemas.lens import LOGIT_LENS
from workflow_scripts.step import step

with step(snakemake):
    table = artifacts.read(snakemake.input[0], LOGIT_LENS)
    model = snakemake.wildcards.model
    figure = lens_curves(table[table["model"] == model], model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
