"""How many hard negatives may be true of their query image after all."""

from pathlib import Path

from hones_core import artifacts
from hones_core.benchmark.report import false_negatives
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS, RECORDS, RETRIEVAL_POOLS
from hones_core.schemas.benchmark_tables import RETRIEVAL_FALSE_NEGATIVES
from hones_core.tables.plain import write_plain_table
from workflow_scripts.step import provenance, step

with step(snakemake):
    records = artifacts.read(snakemake.input.records, RECORDS)
    table = false_negatives(
        artifacts.read(snakemake.input.pools, RETRIEVAL_POOLS),
        dict(zip(records["image_id"], records["captions"], strict=True)),
        artifacts.read(snakemake.input.embeddings, CAPTION_EMBEDDINGS),
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, RETRIEVAL_FALSE_NEGATIVES, stem, provenance(snakemake))
