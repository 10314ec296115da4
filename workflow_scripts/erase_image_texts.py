"""One shard of the images with all their texts in the mean colour."""

from hones_core import artifacts
from hones_core.benchmark.text_erasure import erase_image_texts
from hones_core.schemas.benchmark import RECORDS, SPLITS, TEXT_ERASED_IMAGES, TEXT_REGIONS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    manifest = erase_image_texts(
        artifacts.read(snakemake.input.records, RECORDS),
        artifacts.read(snakemake.input.splits, SPLITS),
        artifacts.read(snakemake.input.regions, TEXT_REGIONS),
        cfg["image_folder"],
        snakemake.output.folder,
        (int(snakemake.wildcards.shard), cfg["image_shards"]),
    )
    artifacts.write(snakemake.output.manifest, manifest, TEXT_ERASED_IMAGES, provenance(snakemake))
