"""Drop against the number of top heads, and against the share of top neurons."""

from pathlib import Path

from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.sweeps import (
    HEAD_BUDGET,
    HEAD_BUDGET_PREDICTIONS,
    RATIO_DROP,
    RATIO_PREDICTIONS,
)
from hones_core.tables.plain import write_plain_table
from hones_core.tables.sweeps import head_budget, ratio_drop
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_task

with step(snakemake):
    shared = common_arguments(snakemake)
    heads = head_budget(read_per_task(snakemake, "heads", HEAD_BUDGET_PREDICTIONS), **shared)
    base = read_per_task(snakemake, "base", BASE_PREDICTIONS)
    ratios = ratio_drop(base, read_per_task(snakemake, "ratios", RATIO_PREDICTIONS), **shared)
    for name, table, schema in (
        ("head_budget", heads, HEAD_BUDGET),
        ("ratio_drop", ratios, RATIO_DROP),
    ):
        stem = Path(snakemake.output[name]).with_suffix("")
        write_plain_table(table, schema, stem, provenance(snakemake))
