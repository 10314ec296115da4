"""The paper's Table 3: test scores of the steering methods."""

from pathlib import Path

import pandas as pd

from hones_core.schemas.steering import STEERED_PREDICTIONS
from hones_core.schemas.tables import STEERING
from hones_core.tables.render import write_table
from hones_core.tables.steering import steering
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_task

with step(snakemake):
    table = steering(
        steered=read_per_task(snakemake, "steered", STEERED_PREDICTIONS),
        paper=pd.read_csv(snakemake.input.paper),
        **common_arguments(snakemake),
    )
    stem = Path(snakemake.output[0]).with_suffix("")
    write_table(table, STEERING, stem, provenance(snakemake))
