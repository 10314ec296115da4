"""Artifacts of neuron scoring and ranking."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.heads import LAYER

NEURON = Column("neuron", "int64", "", "FFN neuron within the layer, from 0")

NEURON_EFFECTS = Schema(
    name="neuron_effects",
    version=1,
    rule="measure_neuron_effects",
    meaning="Expected write-in contribution of each neuron, and its drop for each selected head.",
    key=("head_layer", "head", "layer", "neuron"),
    columns=(
        Column("head_layer", "int64", "", "layer of the disrupted head; -1 for the base run"),
        Column("head", "int64", "", "disrupted head; -1 for the base run"),
        LAYER,
        NEURON,
        Column("contribution", "float64", "logit", "E[c] in this run"),
        Column("drop", "float64", "logit", "E[max(0, c - c_h)], clipped as configured; base: 0"),
    ),
)

ACTIVATION_STATISTICS = Schema(
    name="activation_statistics",
    version=1,
    rule="measure_activations",
    meaning="Activation statistics of each neuron over the discovery samples (METHOD 6).",
    key=("layer", "neuron"),
    columns=(
        LAYER,
        NEURON,
        Column("mean_activation", "float64", "", "MA: mean over samples of the position aggregate"),
        Column("mean_absolute", "float64", "", "mean over samples of its absolute value"),
        Column("active_fraction", "float64", "", "AP: share of samples above the threshold"),
        Column("n_samples", "int64", "", "number of samples"),
    ),
)

NEURON_RANKING = Schema(
    name="neuron_ranking",
    version=1,
    rule="rank_neurons",
    meaning="All neurons in the order of each ranker; take the first rows for any budget.",
    key=("ranker", "seed", "rank"),
    columns=(
        Column("ranker", "string", "", "a ranker of neurons.rankers that applies to the task"),
        Column("seed", "int64", "", "seed of a random ranker, else 0"),
        Column("rank", "int64", "", "place in the order, from 0"),
        LAYER,
        NEURON,
        Column("score", "float64", "", "the ranker's score"),
        Column("tie_break", "float64", "", "second criterion, such as |E[c]| for HONES; 0: none"),
    ),
)
HONES_ORDER = {"ranker": "hones", "seed": 0}  # its rows that most steps need, for `artifacts.read`
