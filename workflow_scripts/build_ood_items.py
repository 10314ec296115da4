"""The complete items of one out-of-distribution data set, and the ones that are used."""

from hones_core import artifacts
from hones_core.benchmark.flickr30k import read_flickr30k
from hones_core.benchmark.ood_instances import choose_items
from hones_core.benchmark.ood_readers import READERS
from hones_core.schemas.ood import OOD_EXCLUDED, OOD_ITEMS
from workflow_scripts.step import provenance, step

with step(snakemake):
    dataset, cfg = snakemake.wildcards.dataset, snakemake.params.cfg
    if dataset == "flickr30k":
        data = read_flickr30k(cfg["captions"], cfg["split"])
    else:
        data = READERS[dataset](cfg["questions"])
    items, excluded = choose_items(
        data, dataset, cfg["n_images"], cfg.get("questions_per_image"), cfg["seed"]
    )
    artifacts.write(snakemake.output.ood_items, items, OOD_ITEMS, provenance(snakemake))
    artifacts.write(snakemake.output.excluded, excluded, OOD_EXCLUDED, provenance(snakemake))
