"""The paper's Tables 1, 2 and 7: drop and score with each ranker's top neurons silenced."""

from pathlib import Path

import pandas as pd

from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import MASKED_PREDICTIONS
from hones_core.schemas.tables import MASKING_DROP, MASKING_SCORE
from hones_core.tables.masking import masking_drop, masking_score
from hones_core.tables.render import write_table
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_task

with step(snakemake):
    base = read_per_task(snakemake, "base", BASE_PREDICTIONS)
    masked = read_per_task(snakemake, "masked", MASKED_PREDICTIONS)
    tables = (
        ("drop", masking_drop, MASKING_DROP, snakemake.input.paper_drop),
        ("score", masking_score, MASKING_SCORE, [snakemake.input.paper_score]),
    )
    for name, tabulate, schema, paper in tables:
        paper = pd.concat([pd.read_csv(path) for path in paper])
        table = tabulate(
            base,
            masked,
            paper=paper,
            compare_with=snakemake.params.cfg["compare_with"],
            **common_arguments(snakemake),
        )
        stem = Path(snakemake.output[name]).with_suffix("")
        write_table(table, schema, stem, provenance(snakemake))
