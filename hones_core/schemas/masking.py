"""Artifacts of masking whole rankings' top neurons and overlap groups."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID, SPLIT, TASK
from hones_core.schemas.heads import CLOSE_CALL, LAYER, PREDICTION, STATISTICS, UTILITY
from hones_core.schemas.neurons import NEURON

N_NEURONS = Column("n_neurons", "int64", "", "number of masked neurons")

MASKED_PREDICTIONS = Schema(
    name="masked_predictions",
    version=3,
    rule="predict_masked",
    meaning="Predictions on test with the top neurons of each ranker set to zero.",
    key=("ranker", "seed", "instance_id"),
    columns=(
        Column("ranker", "string", "", "ranker whose top neurons are masked"),
        Column("seed", "int64", "", "seed of a random ranker, else 0"),
        N_NEURONS,
        Column("n_nonzero", "int64", "", "neurons of the ranker's order whose score is not 0"),
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)

OVERLAP_GROUPS = Schema(
    name="overlap_groups",
    version=1,
    rule="build_overlap_groups",
    meaning="The exact membership pattern of each neuron that is in a task's top set.",
    key=("layer", "neuron"),
    columns=(
        LAYER,
        NEURON,
        Column("group", "string", "", "tasks whose top set holds it, joined by +, in task order"),
        Column("n_tasks", "int64", "", "number of those tasks, 1 to 4"),
    ),
)

GROUP_PREDICTIONS = Schema(
    name="group_predictions",
    version=2,
    rule="predict_group_masked",
    meaning="Predictions with one overlap group, or a random set of its size, set to zero.",
    key=("group", "trial", "instance_id"),
    columns=(
        Column("group", "string", "", "overlap group"),
        Column("trial", "int64", "", "-1: the group itself; from 0: random sets of the same size"),
        N_NEURONS,
        INSTANCE_ID,
        SPLIT,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)

DOMINANT_GROUPS = Schema(
    name="dominant_groups",
    version=1,
    rule="select_dominant_groups",
    meaning="Each task's shared group with the largest drop on the selecting split.",
    key=("task",),
    columns=(
        TASK,
        Column(
            "group", "string", "", "the dominant salient group; empty if no shared group exists"
        ),
        N_NEURONS,
        Column("relative_drop", "float64", "percent", "drop on the selecting split", nan=True),
    ),
)

SELECTIVITY_PREDICTIONS = Schema(
    name="selectivity_predictions",
    version=1,
    rule="predict_selectivity",
    meaning="Test predictions of one task with the neurons of each task, or random sets, at zero.",
    key=("source_task", "kind", "trial", "instance_id"),
    columns=(
        Column("source_task", "string", "", "task whose neurons are masked"),
        Column("kind", "string", "", "top: its whole top set; specific: no other's; dominant"),
        Column("trial", "int64", "", "-1: the set itself; from 0: random sets of the same size"),
        N_NEURONS,
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)

TEXT_ERASED_PREDICTIONS = Schema(
    name="text_erased_predictions",
    version=1,
    rule="predict_text_erased",
    meaning="Test captions of images whose texts are erased, with each overlap group masked.",
    key=("group", "trial", "instance_id"),
    columns=(
        Column("group", "string", "", "overlap group; empty: the unchanged model"),
        Column("trial", "int64", "", "-1: the group itself; from 0: random sets of the same size"),
        N_NEURONS,
        INSTANCE_ID,
        PREDICTION,
        UTILITY,
        STATISTICS,
        CLOSE_CALL,
    ),
)
