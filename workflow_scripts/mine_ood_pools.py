"""Queries, positives and hard negatives of retrieval on Flickr30k."""

from hones_core import artifacts
from hones_core.benchmark.ood_instances import SPLIT, captions_by_image
from hones_core.benchmark.retrieval_pools import Mining, mine_pool
from hones_core.schemas.ood import OOD_CAPTION_EMBEDDINGS, OOD_ITEMS, OOD_RETRIEVAL_POOLS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    pools = mine_pool(
        captions_by_image(artifacts.read(snakemake.input.ood_items, OOD_ITEMS)),
        artifacts.read(snakemake.input.embeddings, OOD_CAPTION_EMBEDDINGS),
        SPLIT,
        cfg["n_queries"],
        Mining(**cfg["mining"]),
    )
    artifacts.write(snakemake.output[0], pools, OOD_RETRIEVAL_POOLS, provenance(snakemake))
