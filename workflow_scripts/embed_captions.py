"""Sentence embeddings of all captions of the selected images."""

from hones_core import artifacts
from hones_core.benchmark.caption_embeddings import embed_captions
from hones_core.benchmark.splits import used_records
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS, RECORDS, SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    records = artifacts.read(snakemake.input.records, RECORDS)
    used = used_records(records, artifacts.read(snakemake.input.splits, SPLITS))
    embeddings = embed_captions(used["captions"].explode(), threads=snakemake.threads)
    artifacts.write(snakemake.output[0], embeddings, CAPTION_EMBEDDINGS, provenance(snakemake))
