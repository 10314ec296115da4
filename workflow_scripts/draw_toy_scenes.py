"""Write generated scenes in the official file formats."""

from pathlib import Path

from hones_core.toy.official import write_official
from workflow_scripts.step import step

with step(snakemake):
    scenes = snakemake.params.cfg["toy_scenes"]
    write_official(Path(snakemake.output.images).parent, scenes["n_images"], scenes["seed"])
