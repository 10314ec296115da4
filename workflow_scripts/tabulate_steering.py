"""Steering on test: the paper's Tables 3 and 14, and what it does to the other tasks."""

from pathlib import Path

import pandas as pd

from hones_core.schemas.steering import (
    SIDE_EFFECT_PREDICTIONS,
    STEERED_PREDICTIONS,
    STEERING_SEARCH,
)
from hones_core.schemas.tables import STEERING, STEERING_BOOTSTRAP, STEERING_SIDE_EFFECTS
from hones_core.tables.plain import write_plain_table
from hones_core.tables.render import write_table
from hones_core.tables.steering import steering, steering_bootstrap, steering_side_effects
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_task

with step(snakemake):
    steered = read_per_task(snakemake, "steered", STEERED_PREDICTIONS)
    others = read_per_task(snakemake, "side_effects", SIDE_EFFECT_PREDICTIONS)
    search = read_per_task(snakemake, "search", STEERING_SEARCH)
    shared = common_arguments(snakemake)
    compare_with = snakemake.params.cfg["compare_with"]
    paper = pd.read_csv(snakemake.input.paper)
    table = steering(steered, search, paper=paper, compare_with=compare_with, **shared)
    stems = {name: Path(path).with_suffix("") for name, path in snakemake.output.items()}
    write_table(table, STEERING, stems["steering"], provenance(snakemake))
    paper = pd.read_csv(snakemake.input.paper_bootstrap)
    pairs = steering_bootstrap(steered, paper=paper, compare_with=compare_with, **shared)
    write_plain_table(pairs, STEERING_BOOTSTRAP, stems["pairs"], provenance(snakemake))
    side_effects = steering_side_effects(steered, others, **shared)
    stem = stems["side_effects"]
    write_plain_table(side_effects, STEERING_SIDE_EFFECTS, stem, provenance(snakemake))
