"""Train a toy model from scratch; a stopped training goes on where it was."""

import torch

from hones_core.toy.train import train_family
from workflow_scripts.step import step

with step(snakemake):
    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    train_family(params.folder, params.family, params.seed, resume=True)
