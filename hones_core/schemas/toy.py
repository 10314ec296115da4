"""Artifacts of the toy models' checks."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID
from hones_core.schemas.heads import CLOSE_CALL, PREDICTION, STATISTICS, UTILITY
from hones_core.schemas.masking import N_NEURONS

TOY_CHECK_PREDICTIONS = Schema(
    name="toy_check_predictions",
    version=2,
    rule="predict_toy_check",
    meaning="Test predictions of a toy model with its feed-forward layers silenced in part.",
    key=("setting", "trial", "instance_id"),
    columns=(
        Column("setting", "string", "", "all, top_5_percent, top_1_percent or the random controls"),
        Column("trial", "int64", "", "number of the random set, else 0"),
        N_NEURONS,
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)
