"""The paper's Table 13: the groups found in distribution, silenced on other data sets."""

from pathlib import Path

import pandas as pd

from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.ood import OOD_GROUP_PREDICTIONS
from hones_core.schemas.selectivity import OOD_GROUP_DROP
from hones_core.tables.common import Bootstrap
from hones_core.tables.plain import write_plain_table
from hones_core.tables.shifted_groups import ood_group_drop
from hones_core.tasks import get_task
from hones_core.tasks.ood_sets import OOD_SETS
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import read_per_model, read_per_task

with step(snakemake):
    cfg = snakemake.params.cfg
    table = ood_group_drop(
        read_per_task(snakemake, "predictions", OOD_GROUP_PREDICTIONS, of="ood_sets"),
        read_per_model(snakemake, "groups", OVERLAP_GROUPS),
        cfg["tasks"],
        {ood_set: get_task(OOD_SETS[ood_set].task).score for ood_set in cfg["ood_sets"]},
        pd.read_csv(snakemake.input.paper),
        Bootstrap(resamples=cfg["bootstrap_resamples"], seed=cfg["seed"]),
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, OOD_GROUP_DROP, stem, provenance(snakemake))
