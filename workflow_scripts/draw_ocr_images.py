"""One shard of the images with a blue box around the text to be read."""

from hones_core import artifacts
from hones_core.benchmark.overlays import draw_ocr_images
from hones_core.schemas.benchmark import OCR_IMAGES, RECORDS, SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    manifest = draw_ocr_images(
        artifacts.read(snakemake.input.records, RECORDS),
        artifacts.read(snakemake.input.splits, SPLITS),
        cfg["image_folder"],
        snakemake.output.folder,
        cfg["outline"]["colour"],
        cfg["outline"]["width_px"],
        (int(snakemake.wildcards.shard), cfg["image_shards"]),
    )
    artifacts.write(snakemake.output.manifest, manifest, OCR_IMAGES, provenance(snakemake))
