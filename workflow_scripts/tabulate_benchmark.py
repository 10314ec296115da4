"""What the benchmark was made of, and how large its texts are."""

from pathlib import Path

from hones_core import artifacts
from hones_core.benchmark.report import benchmark_funnel, box_sizes
from hones_core.schemas.benchmark import EXCLUDED, RECORDS, SPLITS
from hones_core.schemas.benchmark_tables import BENCHMARK_FUNNEL, BOX_SIZES
from hones_core.tables.plain import write_plain_table
from workflow_scripts.step import provenance, step

with step(snakemake):
    records = artifacts.read(snakemake.input.records, RECORDS)
    excluded = artifacts.read(snakemake.input.excluded, EXCLUDED)
    splits = artifacts.read(snakemake.input.splits, SPLITS)
    tables = {
        snakemake.output.funnel: (benchmark_funnel(records, excluded, splits), BENCHMARK_FUNNEL),
        snakemake.output.boxes: (box_sizes(records, splits), BOX_SIZES),
    }
    for path, (table, schema) in tables.items():
        write_plain_table(table, schema, Path(path).with_suffix(""), provenance(snakemake))
