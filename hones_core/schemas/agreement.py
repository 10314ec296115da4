"""Artifacts of the agreement of rankers."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import TASK
from hones_core.schemas.table_columns import MODEL

RANKER_AGREEMENT = Schema(
    name="ranker_agreement",
    version=1,
    rule="tabulate_agreement",
    meaning="How much two rankers agree on a task; random ones are taken by their first seed.",
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

RANKER_STABILITY = Schema(
    name="ranker_stability",
    version=1,
    rule="measure_stability",
    meaning="Agreement of a ranker's top neurons between random halves of the discovery samples.",
    key=("ranker", "draw"),
    columns=(
        Column("ranker", "string", "", "ranker whose order depends on the samples"),
        Column("draw", "int64", "", "random division into halves, from 0"),
        Column("n_neurons", "int64", "", "size of the top set"),
        Column("between_halves", "float64", "", "share of one half's top set in the other's"),
        Column("with_all", "float64", "", "mean share of a half's top set in that of all samples"),
    ),
)

STABILITY = Schema(
    name="stability",
    version=1,
    rule="tabulate_stability",
    meaning="Stability of each ranker's top neurons over random halves of the discovery samples.",
    key=("model", "task", "ranker"),
    columns=(
        MODEL,
        TASK,
        Column("ranker", "string", "", "ranker"),
        Column("n_neurons", "int64", "", "size of the top set"),
        Column("n_draws", "int64", "", "random divisions into halves"),
        Column("between_halves", "float64", "", "mean share of the top set that halves share"),
        Column("between_halves_sd", "float64", "", "its standard deviation over draws", nan=True),
        Column("with_all", "float64", "", "mean share that a half shares with all samples"),
        Column("with_all_sd", "float64", "", "its standard deviation over draws", nan=True),
        Column("chance", "float64", "", "what two random sets of this size share on average"),
    ),
)
