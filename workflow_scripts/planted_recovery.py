"""What every ranker finds of circuits that are known, with weak and strong distractors."""

import tempfile
from pathlib import Path

import torch

from hones_core import artifacts
from hones_core.figure_style import save
from hones_core.planted.figure import recovery_heatmap
from hones_core.planted.measure import Options
from hones_core.planted.recovery import REFERENCE_STRENGTH, recovery_tables
from hones_core.planted.world import draw_scenes
from hones_core.schemas.planted import PLANTED_RECOVERY, PLANTED_STRENGTHS, PLANTED_TRUTH
from hones_core.tables.plain import write_plain_table
from workflow_scripts.step import provenance, step

with step(snakemake):
    torch.set_num_threads(snakemake.threads)
    cfg = snakemake.params.cfg
    planted = cfg["planted"]
    with tempfile.TemporaryDirectory() as folder:
        sweep, truth = recovery_tables(
            Path(folder),
            draw_scenes(Path(folder), planted["n_images"], planted["seed"]),
            planted["strengths"],
            planted["seed"],
            Options(planted["head_samples"], planted["seed"], **cfg["options"]),
        )
    reference = sweep[sweep["strength"] == REFERENCE_STRENGTH]
    tables = (
        (snakemake.output.recovery, reference, PLANTED_RECOVERY),
        (snakemake.output.strengths, sweep, PLANTED_STRENGTHS),
    )
    for path, table, schema in tables:
        write_plain_table(table, schema, Path(path).with_suffix(""), provenance(snakemake))
    artifacts.write(snakemake.output.truth, truth, PLANTED_TRUTH, provenance(snakemake))
    save(recovery_heatmap(sweep), Path(snakemake.output.figure[0]).with_suffix(""))
