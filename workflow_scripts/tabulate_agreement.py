"""Common top neurons and rank correlation of every two rankers."""

from pathlib import Path

import pandas as pd

from hones_core import artifacts
from hones_core.rank_agreement import rank_agreement
from hones_core.schemas.agreement import RANKER_AGREEMENT
from hones_core.schemas.neurons import NEURON_RANKING
from hones_core.tables.plain import write_plain_table
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import paths_per_task

with step(snakemake):
    ratio = snakemake.params.cfg["top_ratio"]
    frames = [
        rank_agreement(artifacts.read(path, NEURON_RANKING, {"seed": 0}), ratio).assign(
            model=model, task=task
        )
        for (model, task), path in paths_per_task(snakemake, "rankings").items()
    ]
    table = pd.concat(frames, ignore_index=True)
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, RANKER_AGREEMENT, stem, provenance(snakemake))
