"""The instances of one out-of-distribution set."""

from hones_core import artifacts
from hones_core.benchmark.ood_instances import build_ood_instances
from hones_core.schemas.ood import OOD_INSTANCES, OOD_ITEMS, OOD_RETRIEVAL_POOLS
from workflow_scripts.step import provenance, step

with step(snakemake):
    path = snakemake.input.get("pools")
    pools = artifacts.read(path, OOD_RETRIEVAL_POOLS) if path else None
    items = artifacts.read(snakemake.input.ood_items, OOD_ITEMS)
    instances = build_ood_instances(snakemake.wildcards.ood_set, items, pools)
    artifacts.write(snakemake.output[0], instances, OOD_INSTANCES, provenance(snakemake))
