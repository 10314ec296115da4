"""Discovery, development and test, by image."""

from hones_core import artifacts
from hones_core.benchmark.splits import build_splits
from hones_core.schemas.benchmark import RECORDS, SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    records = artifacts.read(snakemake.input.records, RECORDS)
    sizes = {f"n_{split}": size for split, size in cfg["splits"].items()}
    splits = build_splits(records["image_id"], **sizes, seed=cfg["seed"])
    artifacts.write(snakemake.output[0], splits, SPLITS, provenance(snakemake))
