"""Artifacts that only the rankers to compare with read (METHOD 6)."""

from dataclasses import replace

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID
from hones_core.schemas.heads import LAYER
from hones_core.schemas.neurons import NEURON, NEURON_EFFECTS

N_SAMPLES = Column("n_samples", "int64", "", "number of samples")

RANDOM_HEAD_EFFECTS = replace(
    NEURON_EFFECTS,
    name="random_head_effects",
    rule="measure_random_heads",
    meaning="As neuron_effects, for the random heads of all seeds of HONES-RandHead.",
)

GAUSSIAN_EFFECTS = replace(
    NEURON_EFFECTS,
    name="gaussian_effects",
    rule="measure_gaussian_heads",
    meaning="As neuron_effects, with noise at the selected heads in place of mean replacement.",
)

DLA_SCORES = Schema(
    name="dla_scores",
    version=1,
    rule="measure_dla",
    meaning="Direct logit attribution of each neuron to the answer's first token.",
    key=("layer", "neuron"),
    columns=(
        LAYER,
        NEURON,
        Column("attribution", "float64", "logit", "mean over samples of z <gamma W / rms, U[y]>"),
        N_SAMPLES,
    ),
)

GROUP_PATCHING_EFFECTS = Schema(
    name="group_patching_effects",
    version=1,
    rule="measure_group_patching",
    meaning="What the answer's first logit loses when a group of neurons is patched.",
    key=("layer", "first_neuron", "instance_id"),
    columns=(
        LAYER,
        Column("first_neuron", "int64", "", "first neuron of the group"),
        Column("n_neurons", "int64", "", "neurons of the group, which are contiguous"),
        INSTANCE_ID,
        Column("effect", "float64", "logit", "logit of the clean run less that of the patched one"),
    ),
)

QRNCA_SCORES = Schema(
    name="qrnca_scores",
    version=1,
    rule="measure_qrnca",
    meaning="Integrated gradients of each neuron for the probability of the answer's first token.",
    key=("layer", "neuron"),
    columns=(
        LAYER,
        NEURON,
        Column("attribution", "float64", "", "mean over samples of the attribution a"),
        Column(
            "attribution_above", "float64", "", "mean over samples of a where it passes, else 0"
        ),
        Column("occurrences", "int64", "", "samples in which a passes the sample's threshold"),
        N_SAMPLES,
    ),
)

LLM_KNOWLEDGE_SCORES = Schema(
    name="llm_knowledge_scores",
    version=1,
    rule="measure_llm_knowledge",
    meaning="What each neuron alone adds to the log-probability of the answer's first token.",
    key=("layer", "neuron"),
    columns=(
        LAYER,
        NEURON,
        Column("increase", "float64", "nat", "mean over samples of the increase"),
        N_SAMPLES,
    ),
)

TOKEN_LAYERS = Schema(
    name="token_layers",
    version=1,
    rule="measure_efficiency",
    meaning="Forward work of localization in each trial; its seconds are in seconds.csv.",
    key=("method", "trial"),
    columns=(
        Column("method", "string", "", "head_localization, hones, qrnca or group_patching"),
        Column("trial", "int64", "", "sample of examples, from 0"),
        Column("n_instances", "int64", "", "examples in the trial"),
        Column("token_layers", "int64", "", "tokens times decoder layers run forward, in all"),
        Column(
            "plain_token_layers",
            "int64",
            "",
            "the same if every pass ran the whole prompt, as published; without answers' tokens",
        ),
    ),
)
