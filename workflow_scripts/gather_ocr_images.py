"""One manifest of the images that all shards have drawn."""

from hones_core import artifacts
from hones_core.benchmark.image_shards import gather_manifests
from hones_core.schemas.benchmark import OCR_IMAGES, SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    manifest = gather_manifests(
        [artifacts.read(path, OCR_IMAGES) for path in snakemake.input.manifests],
        artifacts.read(snakemake.input.splits, SPLITS),
        "draw_ocr_images",
    )
    artifacts.write(snakemake.output[0], manifest, OCR_IMAGES, provenance(snakemake))
