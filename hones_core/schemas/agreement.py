"""Artifacts of the agreement of rankers."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.tables import MODEL, TASK

RANKER_AGREEMENT = Schema(
    name="ranker_agreement",
    version=1,
    rule="tabulate_agreement",
    meaning="How much two rankers agree on a task; random ones are taken by their seed 0.",
    key=("model", "task", "ranker", "other"),
    columns=(
        MODEL,
        TASK,
        Column("ranker", "string", "", "one ranker"),
        Column("other", "string", "", "the other; each pair is there once"),
        Column("overlap", "float64", "", "share of the top neurons in common"),
        Column("spearman", "float64", "", "rank correlation over all neurons"),
    ),
)
