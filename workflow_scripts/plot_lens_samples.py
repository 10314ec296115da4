"""Single images with the tokens that lose most at each layer."""

from pathlib import Path

from hones_core import artifacts
from hones_core.benchmark.images import open_image
from hones_core.figure_style import save
from hones_core.figures_lens_samples import lens_examples
from hones_core.schemas.lens import LOGIT_LENS_SAMPLES, LOGIT_LENS_TOKENS
from workflow_scripts.step import step

with step(snakemake):
    cfg = snakemake.params.cfg
    samples = artifacts.read(snakemake.input.samples, LOGIT_LENS_SAMPLES)
    tokens = {
        task: artifacts.read(snakemake.input[f"tokens_{task}"], LOGIT_LENS_TOKENS)
        for task in cfg["tasks"]
    }
    images = {
        (row.task, row.image): open_image(cfg["image_folders"][row.task], row.image)
        for row in samples.itertuples()
    }
    figure = lens_examples(samples, tokens, images, snakemake.wildcards.model)
    save(figure, Path(snakemake.output[0]).with_suffix(""))
