"""One table that says whether the configured data are there; stops if something is missing."""

import sys

from hones_core.benchmark.data_check import PROBLEM, check_coco, check_ood, table
from hones_core.benchmark.errors import BenchmarkError
from hones_core.schemas.benchmark_tables import DATA_CHECK
from hones_core.tables.plain import plain_markdown, write_plain_table
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    checked = table([*check_coco(cfg["data"]), *check_ood(cfg["ood"], cfg["ood_sets"])])
    write_plain_table(checked, DATA_CHECK, snakemake.params.table, provenance(snakemake))
    print(plain_markdown(checked, DATA_CHECK), file=sys.stderr)
    problems = checked[checked["status"] == PROBLEM]
    if len(problems):
        where = ", ".join(problems["data"].unique())
        raise BenchmarkError(
            f"{len(problems)} problems with the data: {where}; see the table above"
        )
