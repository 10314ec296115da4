"""Artifacts of steering."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID
from hones_core.schemas.heads import CLOSE_CALL, LAYER, PREDICTION, STATISTICS, UTILITY
from hones_core.schemas.neurons import NEURON

METHOD = Column("method", "string", "", "fixed_amp, grid_search, random, hones_nokl or hones")
SEED = Column("seed", "int64", "", "seed of a random bank, else 0")
SCALE = Column("scale", "float64", "", "s; z becomes (1 + s) z")
BANK_SIZE = Column("n_neurons", "int64", "", "neurons of the bank")
STEPS = (
    Column("step", "int64", "", "optimiser step, from 0"),
    Column("cross_entropy", "float64", "nat", "mean over target tokens"),
    Column("kl", "float64", "nat", "KL(unsteered || steered) over the same positions"),
    Column("l2", "float64", "", "sum of squared scales"),
    Column("learning_rate", "float64", "", "learning rate of the step"),
    Column("max_abs_scale", "float64", "", "largest |s| after the step"),
)

STEERING_SCALES = Schema(
    name="steering_scales",
    version=2,
    rule="learn_steering_scales",
    meaning="The bank's neurons and the factor by which each method multiplies them.",
    key=("method", "seed", "layer", "neuron"),
    columns=(
        METHOD,
        SEED,
        LAYER,
        NEURON,
        SCALE,
        Column("column_norm", "float64", "", "L2 norm of the neuron's column of down_proj"),
    ),
)

STEERING_CURVE = Schema(
    name="steering_curve",
    version=2,
    rule="learn_steering_scales",
    meaning="Loss terms of every optimiser step of the learned methods.",
    key=("method", "seed", "step"),
    columns=(METHOD, SEED, *STEPS),
)

STEERING_GATES = Schema(
    name="steering_gates",
    version=1,
    rule="learn_steering_scales",
    meaning="How far the learned scales have moved.",
    key=("method", "seed"),
    columns=(
        METHOD,
        SEED,
        BANK_SIZE,
        Column("n_steps", "int64", "", "optimiser steps"),
        Column("mean_scale", "float64", "", "mean of s"),
        Column("mean_abs_scale", "float64", "", "mean of |s|"),
        Column("max_abs_scale", "float64", "", "largest |s|"),
        Column("n_at_limit", "int64", "", "scales that lie where they are clamped"),
        Column("n_sign_flips", "int64", "", "neurons whose sign is turned: 1 + s < 0"),
    ),
)

STEERING_SEARCH = Schema(
    name="steering_search",
    version=1,
    rule="learn_steering_scales",
    meaning="What was tried on development, with its score there, and what was chosen by it.",
    key=("method", "seed", "candidate"),
    columns=(
        Column("method", "string", "", "base, the unchanged model, or a steering method"),
        SEED,
        Column("candidate", "int64", "", "number of the method's candidate, from 0"),
        BANK_SIZE,
        Column("kl_weight", "float64", "", "beta; NaN if nothing is learned", nan=True),
        Column("factor", "float64", "", "factor of all neurons; NaN if it is learned", nan=True),
        Column("development_score", "float64", "", "the task's score on development"),
        Column("chosen", "bool", "", "whether it is what the method does on test"),
    ),
)

STEERED_PREDICTIONS = Schema(
    name="steered_predictions",
    version=3,
    rule="predict_steered",
    meaning="Test predictions of each steering method and of the unchanged model.",
    key=("method", "seed", "instance_id"),
    columns=(
        Column("method", "string", "", "base, the unchanged model, or a steering method"),
        SEED,
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
        Column(
            "kl",
            "float64",
            "nat",
            "KL(unsteered || steered) at the target's tokens, teacher-forced, their mean; NaN but "
            "for the first 64 instances",
            nan=True,
        ),
    ),
)

SIDE_EFFECT_PREDICTIONS = Schema(
    name="side_effect_predictions",
    version=1,
    rule="predict_steered",
    meaning="Test predictions of a task under the HONES scales of the other tasks.",
    key=("steered_task", "instance_id"),
    columns=(
        Column("steered_task", "string", "", "task whose scales are in force"),
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)
