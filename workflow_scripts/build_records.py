"""Records of the images that have a complete annotation for every task."""

from hones_core import artifacts
from hones_core.benchmark.selection import build_records
from hones_core.schemas.benchmark import EXCLUDED, RECORDS
from workflow_scripts.step import provenance, step

with step(snakemake):
    records, excluded = build_records(**snakemake.params.cfg)
    artifacts.write(snakemake.output.records, records, RECORDS, provenance(snakemake))
    artifacts.write(snakemake.output.excluded, excluded, EXCLUDED, provenance(snakemake))
