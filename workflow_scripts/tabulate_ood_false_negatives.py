"""How many hard negatives of Flickr30k may be true of their query image after all."""

from pathlib import Path

from hones_core import artifacts
from hones_core.benchmark.ood_instances import captions_by_image
from hones_core.benchmark.report import false_negatives
from hones_core.schemas.ood import (
    OOD_CAPTION_EMBEDDINGS,
    OOD_FALSE_NEGATIVES,
    OOD_ITEMS,
    OOD_RETRIEVAL_POOLS,
)
from hones_core.tables.plain import write_plain_table
from workflow_scripts.step import provenance, step

with step(snakemake):
    table = false_negatives(
        artifacts.read(snakemake.input.pools, OOD_RETRIEVAL_POOLS),
        captions_by_image(artifacts.read(snakemake.input.ood_items, OOD_ITEMS)),
        artifacts.read(snakemake.input.embeddings, OOD_CAPTION_EMBEDDINGS),
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, OOD_FALSE_NEGATIVES, stem, provenance(snakemake))
