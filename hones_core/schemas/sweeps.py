"""Artifacts of the sweeps: how many heads, and how many neurons, are silenced."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID, TASK
from hones_core.schemas.heads import CLOSE_CALL, PREDICTION, STATISTICS, UTILITY
from hones_core.schemas.masking import N_NEURONS
from hones_core.schemas.table_columns import LEVEL, MODEL, N_RESAMPLES, drop_columns

NO_HEADS = 0  # n_heads of the unchanged model
N_HEADS = Column("n_heads", "int64", "", "heads mean-replaced together, the best first; 0: none")
_RATIO = Column("ratio", "float64", "", "share of all neurons that is masked")
_N_INSTANCES = Column("n_instances", "int64", "", "development instances")

HEAD_BUDGET_PREDICTIONS = Schema(
    name="head_budget_predictions",
    version=1,
    rule="predict_head_budget",
    meaning="Development predictions with a task's top heads mean-replaced together.",
    key=("n_heads", "instance_id"),
    columns=(N_HEADS, INSTANCE_ID, PREDICTION, UTILITY, STATISTICS, CLOSE_CALL),
)

RATIO_PREDICTIONS = Schema(
    name="ratio_predictions",
    version=1,
    rule="predict_ratio_masked",
    meaning="Development predictions with growing shares of a ranker's top neurons set to zero.",
    key=("ranker", "ratio", "instance_id"),
    columns=(
        Column("ranker", "string", "", "hones or random (its first seed)"),
        _RATIO,
        N_NEURONS,
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)

HEAD_BUDGET = Schema(
    name="head_budget",
    version=1,
    rule="tabulate_sweeps",
    meaning="Relative drop on development with the top heads of a task mean-replaced together "
    "(paper's Fig. 7).",
    key=("model", "task", "n_heads"),
    columns=(
        MODEL,
        TASK,
        N_HEADS,
        _N_INSTANCES,
        *drop_columns(),
        Column("elbow", "bool", "", "farthest above the line from the first point to the largest"),
        LEVEL,
        N_RESAMPLES,
    ),
)

RATIO_DROP = Schema(
    name="ratio_drop",
    version=1,
    rule="tabulate_sweeps",
    meaning="Relative drop on development with growing shares of the top neurons masked.",
    key=("model", "task", "ranker", "ratio"),
    columns=(
        MODEL,
        TASK,
        Column("ranker", "string", "", "hones or random"),
        _RATIO,
        N_NEURONS,
        _N_INSTANCES,
        *drop_columns(),
        LEVEL,
        N_RESAMPLES,
    ),
)
