"""Artifacts of the planted circuits: the truth, and what every ranker finds of it."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.heads import LAYER

_MODEL = Column("model", "string", "", "planted model, by its family")
_TASK = Column("task", "string", "", "vqa, ocr, caption or retrieval")

PLANTED_TRUTH = Schema(
    name="planted_truth",
    version=1,
    rule="planted_recovery",
    meaning="What every head and neuron of a planted model is for each task, by construction.",
    key=("model", "task", "kind", "layer", "index"),
    columns=(
        _MODEL,
        _TASK,
        Column("kind", "string", "", "head or neuron"),
        LAYER,
        Column("index", "int64", "", "head or neuron within the layer, from 0"),
        Column(
            "label",
            "string",
            "",
            "heads: routing, other_task (routes for other tasks only) or background; neurons: "
            "planted, polysemantic, aligned, cancelled, cancelling, silent, other_task, background",
        ),
    ),
)

_RECOVERY = (
    _MODEL,
    _TASK,
    Column(
        "distractor",
        "string",
        "",
        "what planted neurons are told from: this kind and the background; background: that only; "
        "all: every other neuron",
    ),
    Column("ranker", "string", "", "ranker, by its name in the config"),
    Column("auroc", "float64", "", "chance that a planted neuron ranks above another, ties half"),
    Column("precision_at_k", "float64", "", "share of planted ones among the first n_planted"),
    Column("strength", "float64", "", "write-out of the distractors, times a planted neuron's"),
    Column(
        "auroc_alone",
        "float64",
        "",
        "the same against this kind alone, without the background; all: against the four kinds",
    ),
    Column("n_planted", "int64", "", "planted neurons"),
    Column("n_others", "int64", "", "neurons that they are told from, the background included"),
    Column("n_seeds", "int64", "", "seeds of a random ranker, whose mean is shown; else 1"),
    Column("base_utility", "float64", "", "mean utility of the unchanged model, in [0, 1]"),
)

PLANTED_RECOVERY = Schema(
    name="planted_recovery",
    version=1,
    rule="planted_recovery",
    meaning="How well every ranker finds the neurons that write the answer, by construction, among "
    "distractors as strong as they are.",
    key=("model", "task", "distractor", "ranker"),
    columns=_RECOVERY,
)

PLANTED_STRENGTHS = Schema(
    name="planted_strengths",
    version=1,
    rule="planted_recovery",
    meaning="The same with weaker and stronger distractors, which shows where each ranker breaks.",
    key=("model", "strength", "task", "distractor", "ranker"),
    columns=_RECOVERY,
)
