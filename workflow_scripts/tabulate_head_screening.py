"""What screening of heads would save and miss, or what it has saved."""

from pathlib import Path

from hones_core.schemas.heads import HEAD_EFFECTS
from hones_core.schemas.tables import HEAD_SCREENING
from hones_core.screening import Screening
from hones_core.tables.plain import write_plain_table
from hones_core.tables.screening import head_screening
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import read_per_task

with step(snakemake):
    cfg = snakemake.params.cfg
    table = head_screening(
        read_per_task(snakemake, "effects", HEAD_EFFECTS),
        cfg["top_heads"],
        Screening(top_heads=1, utility=cfg["utility"], **cfg["screening"]),
        cfg["simulated_z"],
        cfg["orders"],
        cfg["seed"],
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, HEAD_SCREENING, stem, provenance(snakemake))
