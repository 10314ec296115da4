"""The paper's Table 9: what localization costs per instance."""

import pandas as pd

from hones_core import artifacts
from hones_core.schemas.rankers import TOKEN_LAYERS
from hones_core.tables.efficiency import efficiency, write_efficiency
from workflow_scripts.step import step

with step(snakemake):
    compare_with = snakemake.params.cfg["compare_with"]
    files = zip(compare_with, snakemake.input.work, snakemake.input.seconds, strict=True)
    work, seconds = {}, {}
    for model, work_file, seconds_file in files:
        work[model] = artifacts.read(work_file, TOKEN_LAYERS)
        seconds[model] = pd.read_csv(seconds_file)
    table = efficiency(work, seconds, pd.read_csv(snakemake.input.paper), compare_with)
    write_efficiency(table, snakemake.output.csv, snakemake.output.markdown)
