"""The paper's Tables 1, 2 and 7: drop and score with each ranker's top neurons silenced."""

from pathlib import Path

import pandas as pd

from hones_core import artifacts
from hones_core.schemas.benchmark import INSTANCES
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import MASKED_PREDICTIONS
from hones_core.schemas.tables import MASKING_DROP, MASKING_SCORE
from hones_core.tables.masking import masking_drop, masking_score
from hones_core.tables.render import write_table
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_task

with step(snakemake):
    base = read_per_task(snakemake, "base", BASE_PREDICTIONS)
    masked = read_per_task(snakemake, "masked", MASKED_PREDICTIONS)
    asked = [artifacts.read(path, INSTANCES) for path in snakemake.input.vqa]
    answers = {
        row.instance_id: list(row.references) for frame in asked for row in frame.itertuples()
    }
    paper_drop = pd.concat([pd.read_csv(path) for path in snakemake.input.paper_drop])
    paper_score = pd.read_csv(snakemake.input.paper_score)
    common = common_arguments(snakemake) | {"compare_with": snakemake.params.cfg["compare_with"]}
    drops = masking_drop(base, masked, paper=paper_drop, **common)
    scores = masking_score(base, masked, paper=paper_score, answers=answers, **common)
    for name, table, schema in (("drop", drops, MASKING_DROP), ("score", scores, MASKING_SCORE)):
        stem = Path(snakemake.output[name]).with_suffix("")
        write_table(table, schema, stem, provenance(snakemake))
