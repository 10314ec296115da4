"""The instances of one task."""

from hones_core import artifacts
from hones_core.benchmark.instances import build_instances
from hones_core.schemas.benchmark import INSTANCES, OCR_IMAGES, RECORDS, RETRIEVAL_POOLS, SPLITS
from workflow_scripts.step import provenance, step

with step(snakemake):
    sources = {"ocr_images": OCR_IMAGES, "pools": RETRIEVAL_POOLS}
    instances = build_instances(
        snakemake.wildcards.task,
        artifacts.read(snakemake.input.records, RECORDS),
        artifacts.read(snakemake.input.splits, SPLITS),
        **{
            name: artifacts.read(path, sources[name])
            for name, path in snakemake.input.items()
            if name in sources
        },
    )
    artifacts.write(snakemake.output[0], instances, INSTANCES, provenance(snakemake))
