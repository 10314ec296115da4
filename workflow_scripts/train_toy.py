"""Train a toy model from scratch; a stopped training goes on where it was."""

from dataclasses import replace

import torch

from hones_core.toy.train import RECIPES, train
from workflow_scripts.step import step

with step(snakemake):
    torch.set_num_threads(snakemake.threads)
    recipe = replace(RECIPES[snakemake.params.family], seed=snakemake.params.seed)
    train(snakemake.params.folder, recipe, resume=True)
