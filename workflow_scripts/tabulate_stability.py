"""How stable each ranker's top neurons are over halves of the discovery samples."""

from pathlib import Path

from hones_core.schemas.agreement import RANKER_STABILITY, STABILITY
from hones_core.tables.plain import write_plain_table
from hones_core.tables.stability import stability
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import read_per_task

with step(snakemake):
    frames = read_per_task(snakemake, "stability", RANKER_STABILITY)
    table = stability(frames, snakemake.params.cfg["top_ratio"])
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, STABILITY, stem, provenance(snakemake))
