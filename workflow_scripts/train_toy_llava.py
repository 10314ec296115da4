"""Train the toy LLaVA from scratch; a stopped training goes on where it was."""

import torch

from hones_core.toy.train import Recipe, train
from workflow_scripts.step import step

with step(snakemake):
    torch.set_num_threads(snakemake.threads)
    train(snakemake.params.folder, Recipe(seed=snakemake.params.seed), resume=True)
