"""Write scenes of another kind in the formats of the out-of-distribution data sets."""

from pathlib import Path

from hones_core.toy.shifted import write_shifted
from workflow_scripts.step import step

with step(snakemake):
    scenes = snakemake.params.cfg["toy_scenes"]
    folder = Path(snakemake.output.gqa).parent.parent
    write_shifted(folder, scenes["n_images"], scenes["seed"])
