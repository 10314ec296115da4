"""The paper's Table 4: steering on other data sets."""

from pathlib import Path

import pandas as pd

from hones_core import artifacts
from hones_core.schemas.ood import OOD_SPLITS, OOD_STEERED_PREDICTIONS
from hones_core.schemas.tables import OOD_STEERING
from hones_core.tables.common import Bootstrap
from hones_core.tables.ood_steering import ood_steering
from hones_core.tables.plain import write_plain_table
from hones_core.tasks import TASKS
from hones_core.tasks.ood_sets import OOD_SETS
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import read_per_task

with step(snakemake):
    cfg = snakemake.params.cfg
    sets = cfg["ood_sets"]
    splits = zip(sets, snakemake.input.splits, strict=True)
    table = ood_steering(
        read_per_task(snakemake, "steered", OOD_STEERED_PREDICTIONS, of="ood_sets"),
        {ood_set: artifacts.read(path, OOD_SPLITS) for ood_set, path in splits},
        {ood_set: TASKS[OOD_SETS[ood_set].task].score for ood_set in sets},
        pd.read_csv(snakemake.input.paper),
        cfg["compare_with"],
        Bootstrap(resamples=cfg["bootstrap_resamples"], seed=cfg["seed"]),
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_plain_table(table, OOD_STEERING, stem, provenance(snakemake), decimals=4)
