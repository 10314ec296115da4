"""The paper's Table 10: drop with each overlap group silenced."""

from pathlib import Path

import pandas as pd

from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import DOMINANT_GROUPS, GROUP_PREDICTIONS, OVERLAP_GROUPS
from hones_core.schemas.tables import GROUP_DROP
from hones_core.tables.groups import group_drop
from hones_core.tables.render import write_table
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_model, read_per_task

with step(snakemake):
    table = group_drop(
        base=read_per_task(snakemake, "base", BASE_PREDICTIONS),
        masked=read_per_task(snakemake, "masked", GROUP_PREDICTIONS),
        overlap_groups=read_per_model(snakemake, "groups", OVERLAP_GROUPS),
        dominant_groups=read_per_model(snakemake, "dominant", DOMINANT_GROUPS),
        paper=pd.read_csv(snakemake.input.paper),
        compare_with=snakemake.params.cfg["compare_with"],
        **common_arguments(snakemake),
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_table(table, GROUP_DROP, stem, provenance(snakemake))
