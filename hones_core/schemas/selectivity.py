"""Tables of what silencing one task's neurons does to every task."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.table_columns import (
    BESIDE_RANDOM,
    LEVEL,
    MODEL,
    N_RESAMPLES,
    PAPER_MODEL,
    drop_columns,
    estimate_columns,
)

SOURCE = Column("source_task", "string", "", "task whose neurons are masked")
KIND = Column("kind", "string", "", "top: its top set; specific: in no other's; dominant: its DSG")
TARGET = Column("task", "string", "", "target task, which is scored")
N_NEURONS = Column("n_neurons", "int64", "", "masked neurons; 0 if the set is empty")
N_INSTANCES = Column("n_instances", "int64", "", "test instances")
GROUP = Column("group", "string", "", "overlap group: its tasks joined by +, in task order")

SELECTIVITY = Schema(
    name="selectivity",
    version=1,
    rule="tabulate_selectivity",
    meaning="Relative drop on test of every task with one task's neurons masked.",
    key=("model", "source_task", "kind", "task"),
    columns=(
        MODEL,
        SOURCE,
        KIND,
        TARGET,
        Column("group", "string", "", "the dominant group's name; empty for the other kinds"),
        N_NEURONS,
        N_INSTANCES,
        *drop_columns(),
        *BESIDE_RANDOM,
        LEVEL,
        N_RESAMPLES,
    ),
)

SELECTIVITY_INDEX = Schema(
    name="selectivity_index",
    version=1,
    rule="tabulate_selectivity",
    meaning="How much more a task's neurons matter to it than to the other tasks.",
    key=("model", "source_task", "kind"),
    columns=(
        MODEL,
        SOURCE,
        KIND,
        N_NEURONS,
        Column("own_drop", "float64", "percent", "drop of the task itself", nan=True),
        Column("other_drop", "float64", "percent", "mean drop of the other tasks", nan=True),
        *estimate_columns("index", "percentage point", "own drop less the others' mean drop"),
        LEVEL,
        N_RESAMPLES,
    ),
)

SELECTIVITY_BY_KIND = Schema(
    name="selectivity_by_kind",
    version=1,
    rule="tabulate_selectivity",
    meaning="The selectivity matrix for parts of the test instances, such as an answer type.",
    key=("model", "source_task", "kind", "task", "aspect", "part"),
    columns=(
        MODEL,
        SOURCE,
        KIND,
        TARGET,
        Column("aspect", "string", "", "what divides the instances, such as answer_type"),
        Column("part", "string", "", "the instances with this value, or in this third"),
        N_NEURONS,
        N_INSTANCES,
        Column("base_score", "float64", "", "score of the unchanged model on the part"),
        *drop_columns(),
        LEVEL,
        N_RESAMPLES,
    ),
)

TEXT_ERASURE = Schema(
    name="text_erasure",
    version=1,
    rule="tabulate_text_erasure",
    meaning="Relative drop of captioning with each overlap group masked, on the images as they are "
    "and with their texts erased (paper's Table 12).",
    key=("model", "setting", "group"),
    columns=(
        MODEL,
        Column("setting", "string", "", "original or text_erased"),
        GROUP,
        N_NEURONS,
        N_INSTANCES,
        Column("base_score", "float64", "", "score of the unchanged model in the setting"),
        *drop_columns(),
        *BESIDE_RANDOM,
        PAPER_MODEL,
        Column("paper_drop", "float64", "percent", "the paper's figure; NaN if none", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

OOD_GROUP_DROP = Schema(
    name="ood_group_drop",
    version=1,
    rule="tabulate_ood_groups",
    meaning="Relative drop on each out-of-distribution set with each overlap group, found in "
    "distribution, masked (paper's Table 13).",
    key=("model", "ood_set", "group"),
    columns=(
        MODEL,
        Column("ood_set", "string", "", "out-of-distribution set"),
        Column("in_domain_task", "string", "", "task whose groups are masked"),
        GROUP,
        Column("group_kind", "string", "", "specific, pair, triple or general"),
        N_NEURONS,
        Column("n_instances", "int64", "", "instances of the set"),
        Column("base_score", "float64", "", "score of the unchanged model"),
        *drop_columns(),
        *BESIDE_RANDOM,
        Column(
            "paper_drop",
            "float64",
            "percent",
            "the paper's figure for the kind, whose group it names only where it leads; NaN if the "
            "group is not the one it names",
            nan=True,
        ),
        LEVEL,
        N_RESAMPLES,
    ),
)
