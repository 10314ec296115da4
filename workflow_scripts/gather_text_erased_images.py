"""One manifest of the images that all shards have freed from text."""

from hones_core import artifacts
from hones_core.benchmark.image_shards import gather_manifests
from hones_core.schemas.benchmark import SPLITS, TEXT_ERASED_IMAGES
from workflow_scripts.step import provenance, step

with step(snakemake):
    manifest = gather_manifests(
        [artifacts.read(path, TEXT_ERASED_IMAGES) for path in snakemake.input.manifests],
        artifacts.read(snakemake.input.splits, SPLITS),
        "erase_image_texts",
    )
    artifacts.write(snakemake.output[0], manifest, TEXT_ERASED_IMAGES, provenance(snakemake))
