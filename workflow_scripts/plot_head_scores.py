"""Heat map of the head scores S_t(h), one panel per task."""

from pathlib import Path

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.figures import head_heatmap
from hones_core.schemas.heads import HEAD_RANKING
from workflow_scripts.step import step

with step(snakemake):
    rankings = {
        task: artifacts.read(path, HEAD_RANKING)
        for task, path in zip(snakemake.params.cfg["tasks"], snakemake.input, strict=True)
    }
    save(
        head_heatmap(rankings, snakemake.wildcards.model), Path(snakemake.output[0]).with_suffix("")
    )
