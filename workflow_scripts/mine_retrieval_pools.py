"""Queries, positives and hard negatives of image-to-text retrieval."""

from hones_core import artifacts
from hones_core.benchmark.retrieval_pools import Mining, mine_retrieval_pools
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS, RECORDS, RETRIEVAL_POOLS, SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    retrieval = dict(cfg["retrieval"])
    pools = mine_retrieval_pools(
        artifacts.read(snakemake.input.records, RECORDS),
        artifacts.read(snakemake.input.splits, SPLITS),
        artifacts.read(snakemake.input.embeddings, CAPTION_EMBEDDINGS),
        retrieval.pop("n_queries"),
        Mining(**retrieval, seed=cfg["seed"]),
    )
    artifacts.write(snakemake.output[0], pools, RETRIEVAL_POOLS, provenance(snakemake))
