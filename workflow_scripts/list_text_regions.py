"""Every COCO-Text region of the selected images."""

from hones_core import artifacts
from hones_core.benchmark.text_erasure import list_text_regions
from hones_core.schemas.benchmark import SPLITS, TEXT_REGIONS
from workflow_scripts.step import provenance, step

with step(snakemake):
    splits = artifacts.read(snakemake.input.splits, SPLITS)
    regions = list_text_regions(snakemake.params.cfg["coco_text"], splits)
    artifacts.write(snakemake.output[0], regions, TEXT_REGIONS, provenance(snakemake))
