"""Artifacts of steering."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID
from hones_core.schemas.heads import CLOSE_CALL, LAYER, PREDICTION, STATISTICS, UTILITY
from hones_core.schemas.neurons import NEURON

METHOD = Column("method", "string", "", "base, fixed_amp or hones")

STEERING_SCALES = Schema(
    name="steering_scales",
    version=1,
    rule="learn_steering_scales",
    meaning="The bank's neurons and the factor by which each method multiplies them.",
    key=("method", "layer", "neuron"),
    columns=(METHOD, LAYER, NEURON, Column("scale", "float64", "", "s; z becomes (1 + s) z")),
)

STEERING_CURVE = Schema(
    name="steering_curve",
    version=1,
    rule="learn_steering_scales",
    meaning="Loss terms of every optimiser step.",
    key=("step",),
    columns=(
        Column("step", "int64", "", "optimiser step, from 0"),
        Column("cross_entropy", "float64", "nat", "mean over target tokens"),
        Column("kl", "float64", "nat", "KL(unsteered || steered) over the same positions"),
        Column("l2", "float64", "", "sum of squared scales"),
        Column("learning_rate", "float64", "", "learning rate of the step"),
        Column("max_abs_scale", "float64", "", "largest |s| after the step"),
    ),
)

STEERED_PREDICTIONS = Schema(
    name="steered_predictions",
    version=2,
    rule="predict_steered",
    meaning="Test predictions of each steering method.",
    key=("method", "instance_id"),
    columns=(METHOD, INSTANCE_ID, PREDICTION, UTILITY, STATISTICS, CLOSE_CALL),
)
