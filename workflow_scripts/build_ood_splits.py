"""The repeated divisions of one out-of-distribution set."""

from hones_core import artifacts
from hones_core.benchmark.ood_instances import build_ood_splits
from hones_core.schemas.ood import OOD_INSTANCES, OOD_SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    instances = artifacts.read(snakemake.input.instances, OOD_INSTANCES)
    splits = build_ood_splits(instances, **snakemake.params.cfg)
    artifacts.write(snakemake.output[0], splits, OOD_SPLITS, provenance(snakemake))
