"""The paper's Table 12: captioning with groups silenced, with and without the images' texts."""

from pathlib import Path

import pandas as pd

from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import (
    GROUP_PREDICTIONS,
    OVERLAP_GROUPS,
    TEXT_ERASED_PREDICTIONS,
)
from hones_core.schemas.selectivity import TEXT_ERASURE
from hones_core.tables.plain import write_plain_table
from hones_core.tables.shifted_groups import text_erasure
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_model

with step(snakemake):
    shared = common_arguments(snakemake)
    table = text_erasure(
        base=read_per_model(snakemake, "base", BASE_PREDICTIONS),
        original=read_per_model(snakemake, "original", GROUP_PREDICTIONS),
        erased=read_per_model(snakemake, "erased", TEXT_ERASED_PREDICTIONS),
        overlap_groups=read_per_model(snakemake, "groups", OVERLAP_GROUPS),
        tasks=snakemake.params.cfg["tasks"],
        score=shared["scores"]["caption"],
        paper=pd.read_csv(snakemake.input.paper),
        compare_with=snakemake.params.cfg["compare_with"],
        bootstrap=shared["bootstrap"],
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, TEXT_ERASURE, stem, provenance(snakemake))
