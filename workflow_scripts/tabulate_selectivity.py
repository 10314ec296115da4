"""What silencing each task's neurons does to every task, and to parts of its instances."""

from pathlib import Path

from hones_core import artifacts
from hones_core.neuron_sets import source_sets
from hones_core.schemas.benchmark import RECORDS, RETRIEVAL_POOLS, SPLITS
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS, SELECTIVITY_PREDICTIONS
from hones_core.schemas.selectivity import SELECTIVITY, SELECTIVITY_BY_KIND, SELECTIVITY_INDEX
from hones_core.tables.instance_parts import instance_parts
from hones_core.tables.plain import write_plain_table
from hones_core.tables.selectivity import selectivity, selectivity_by_kind
from workflow_scripts.step import provenance, step
from workflow_scripts.table_step import common_arguments, read_per_model, read_per_task

with step(snakemake):
    tasks = snakemake.params.cfg["tasks"]
    shared = common_arguments(snakemake)
    base = read_per_task(snakemake, "base", BASE_PREDICTIONS)
    masked = read_per_task(snakemake, "masked", SELECTIVITY_PREDICTIONS)
    groups = read_per_model(snakemake, "groups", OVERLAP_GROUPS)
    dominant = read_per_model(snakemake, "dominant", DOMINANT_GROUPS)
    sets = {model: source_sets(groups[model], dominant[model], tasks) for model in groups}
    matrix, index = selectivity(base, masked, sets, dominant, **shared)
    splits = artifacts.read(snakemake.input.splits, SPLITS)
    records = artifacts.read(snakemake.input.records, RECORDS)
    test = splits.loc[splits["split"] == "test", "image_id"]
    pools = None
    if "retrieval" in tasks:
        pools = artifacts.read(snakemake.input.pools, RETRIEVAL_POOLS).query("split == 'test'")
    tested = records[records["image_id"].isin(test)]
    parts = {task: instance_parts(task, tested, pools) for task in tasks}
    by_kind = selectivity_by_kind(base, masked, parts, **shared)
    for table, schema in (
        (matrix, SELECTIVITY),
        (index, SELECTIVITY_INDEX),
        (by_kind, SELECTIVITY_BY_KIND),
    ):
        stem = Path(snakemake.output[schema.name]).with_suffix("")
        write_plain_table(table, schema, stem, provenance(snakemake))
