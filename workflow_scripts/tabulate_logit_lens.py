"""Mean logit lost by each kind of token at each layer."""

from pathlib import Path

from hones_core.schemas.lens import LOGIT_LENS, LOGIT_LENS_BY_LAYER
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS
from hones_core.tables.lens import logit_lens
from hones_core.tables.plain import write_plain_table
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_model, read_per_task

with step(snakemake):
    table = logit_lens(
        read_per_task(snakemake, "by_layer", LOGIT_LENS_BY_LAYER),
        read_per_model(snakemake, "groups", OVERLAP_GROUPS),
        read_per_model(snakemake, "dominant", DOMINANT_GROUPS),
        common_arguments(snakemake)["bootstrap"],
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, LOGIT_LENS, stem, provenance(snakemake))
