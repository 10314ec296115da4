"""The paper's Table 9: what localization costs per instance."""

import pandas as pd

from hones_core.schemas.rankers import TOKEN_LAYERS
from hones_core.tables.efficiency import efficiency, write_efficiency
from workflow_scripts.step import step
from workflow_scripts.table_step import paths_per_model, read_per_model

with step(snakemake):
    seconds = paths_per_model(snakemake, "seconds")
    table = efficiency(
        read_per_model(snakemake, "work", TOKEN_LAYERS),
        {model: pd.read_csv(path) for model, path in seconds.items()},
        pd.read_csv(snakemake.input.paper),
        snakemake.params.cfg["compare_with"],
    )
    write_efficiency(table, snakemake.output.csv, snakemake.output.markdown)
