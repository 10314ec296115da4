"""Artifacts of the result tables: long format, one row a figure, the paper's figure beside it."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.table_columns import (
    BESIDE_RANDOM,
    LEVEL,
    MODEL,
    N_INSTANCES,
    N_NEURONS,
    N_RESAMPLES,
    N_SEEDS,
    PAPER_MODEL,
    RANKER,
    SHOWN,
    TASK,
    UNDEFINED,
    drop_columns,
    estimate_columns,
    spread_columns,
)

_DROP = drop_columns()

MASKING_DROP = Schema(
    name="masking_drop",
    version=2,
    rule="tabulate_masking",
    meaning="Relative drop on test with each ranker's top neurons masked (paper's Table 1).",
    key=("model", "ranker", "task"),
    columns=(
        MODEL,
        RANKER,
        TASK,
        N_INSTANCES,
        N_NEURONS,
        Column(
            "n_nonzero",
            "int64",
            "",
            "neurons whose score is not 0, the fewest of the seeds' and for avg of the tasks'; of "
            "hones with fewer than n_neurons, the tie-break |E[c]| chose the others",
        ),
        N_SEEDS,
        *_DROP,
        *spread_columns("seed", "percent", "the seeds' drops (sd is NaN with one seed)"),
        *estimate_columns(
            "excess",
            "percentage point",
            "drop less the drop of the random ranker; NaN for it itself or without it",
        ),
        SHOWN,
        PAPER_MODEL,
        Column("paper_drop", "float64", "percent", "the paper's figure; NaN if none", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

MASKING_SCORE = Schema(
    name="masking_score",
    version=2,
    rule="tabulate_masking",
    meaning="Score on test of the unchanged model and with neurons masked (paper's Table 7).",
    key=("model", "ranker", "task"),
    columns=(
        MODEL,
        Column("ranker", "string", "", "ranker whose top neurons are masked; base: none are"),
        TASK,
        N_INSTANCES,
        N_NEURONS,
        N_SEEDS,
        *estimate_columns("score", "", "the task's score in [0, 1]; mean over seeds", p=False),
        *spread_columns("seed", "", "the seeds' scores (sd is NaN with one seed)"),
        Column(
            "score_2021",
            "float64",
            "",
            "VQA accuracy as the evaluator's March-2021 revision has it; mean over seeds; NaN but "
            "for vqa",
            nan=True,
        ),
        PAPER_MODEL,
        Column("paper_score", "float64", "", "the paper's figure; NaN if none", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

GROUP_DROP = Schema(
    name="group_drop",
    version=1,
    rule="tabulate_groups",
    meaning="Relative drop on test of each task with each overlap group that contains it masked, "
    "beside random sets of the same size (paper's Table 10).",
    key=("model", "task", "group"),
    columns=(
        MODEL,
        Column("task", "string", "", "target task, which is scored"),
        Column("group", "string", "", "overlap group: its tasks joined by +, in task order"),
        Column("n_tasks", "int64", "", "number of the group's tasks"),
        Column("n_neurons", "int64", "", "neurons of the group; 0 if it is empty"),
        Column("n_instances", "int64", "", "test instances"),
        *estimate_columns("drop", "percent", f"relative drop; NaN for an empty group, {UNDEFINED}"),
        *BESIDE_RANDOM,
        Column("dominant", "bool", "", "whether it is the task's dominant salient group"),
        PAPER_MODEL,
        Column("paper_drop", "float64", "percent", "the paper's figure; NaN if none", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

STEERING = Schema(
    name="steering",
    version=2,
    rule="tabulate_steering",
    meaning="Score on test of each steering method and its gain over the base (paper's Table 3), "
    "and how far its predictions are from the base's.",
    key=("model", "method", "task"),
    columns=(
        MODEL,
        Column("method", "string", "", "steering method; base: the unchanged model"),
        TASK,
        N_INSTANCES,
        Column("n_seeds", "int64", "", "random banks of the method random, else 1"),
        *estimate_columns("score", "", "the task's score in [0, 1]; mean over seeds", p=False),
        *spread_columns("seed", "", "the seeds' scores (sd is NaN with one seed)"),
        *estimate_columns(
            "gain", "percentage point", "score less the base's, times 100; 0 for the base"
        ),
        Column("kl", "float64", "nat", "KL(unsteered || steered) per target token, test"),
        Column(
            "development_score", "float64", "", "score on development; mean over seeds", nan=True
        ),
        PAPER_MODEL,
        Column("paper_score", "float64", "", "the paper's figure; NaN if none", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

STEERING_BOOTSTRAP = Schema(
    name="steering_bootstrap",
    version=1,
    rule="tabulate_steering",
    meaning="Paired bootstrap of HONES against every other steering method (paper's Table 14).",
    key=("model", "task", "baseline"),
    columns=(
        MODEL,
        TASK,
        Column("baseline", "string", "", "method that HONES is compared with"),
        *estimate_columns(
            "delta", "percentage point", "HONES's score less the baseline's, times 100"
        ),
        Column("mean_delta", "float64", "percentage point", "mean over the resamples", nan=True),
        PAPER_MODEL,
        Column(
            "paper_mean_delta", "float64", "percentage point", "the paper's; NaN if none", nan=True
        ),
        Column("paper_sd", "float64", "percentage point", "the paper's; NaN if none", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

STEERING_SIDE_EFFECTS = Schema(
    name="steering_side_effects",
    version=1,
    rule="tabulate_steering",
    meaning="What the HONES scales of one task do to the score of every task on test.",
    key=("model", "steered_task", "scored_task"),
    columns=(
        MODEL,
        Column("steered_task", "string", "", "task whose scales are in force"),
        Column("scored_task", "string", "", "task that is scored"),
        Column("n_instances", "int64", "", "test instances of the scored task"),
        Column("base_score", "float64", "", "score of the unchanged model in [0, 1]"),
        Column("score", "float64", "", "score under the scales in [0, 1]"),
        *estimate_columns("gain", "percentage point", "score less the base's, times 100"),
        LEVEL,
        N_RESAMPLES,
    ),
)

OOD_STEERING = Schema(
    name="ood_steering",
    version=2,
    rule="tabulate_ood_steering",
    meaning="Steering on other data sets: the scored parts of the divisions of each set, mean and "
    "standard deviation over the divisions (paper's Table 4), and the gain's bootstrap interval.",
    key=("model", "method", "ood_set"),
    columns=(
        MODEL,
        Column(
            "method",
            "string",
            "",
            "base; in-domain scales (zero_shot) or learned anew (tuned), of HONES or random banks",
        ),
        Column("ood_set", "string", "", "set; avg: mean over the sets, division by division"),
        Column("n_divisions", "int64", "", "divisions of the set"),
        Column("score", "float64", "", "score in [0, 1]; mean over divisions"),
        Column("score_sd", "float64", "", "its standard deviation", nan=True),
        Column("gain", "float64", "percentage point", "score less the base's, times 100; mean"),
        Column("gain_low", "float64", "percentage point", "lower end of the interval", nan=True),
        Column("gain_high", "float64", "percentage point", "upper end of the interval", nan=True),
        Column("gain_p", "float64", "", "two-sided bootstrap p of gain = 0", nan=True),
        Column("gain_sd", "float64", "percentage point", "sd of the divisions' gains", nan=True),
        Column("n_gains", "int64", "", "divisions in which the gain is above 0"),
        PAPER_MODEL,
        Column("paper_score", "float64", "", "the paper's figure; NaN if none", nan=True),
        Column("paper_sd", "float64", "", "its standard deviation over 10 splits", nan=True),
        LEVEL,
        N_RESAMPLES,
    ),
)

HEAD_SCREENING = Schema(
    name="head_screening",
    version=1,
    rule="tabulate_head_screening",
    meaning="What screening of heads by successive elimination saves and finds (heads.screening).",
    key=("model", "task", "kind", "z"),
    columns=(
        MODEL,
        Column("task", "string", "", "vqa, ocr, caption or retrieval"),
        Column("kind", "string", "", "simulated on full head effects, or real: they were screened"),
        Column("z", "float64", "", "standard errors of the bounds"),
        Column("top_heads", "int64", "", "K_h: heads that are looked for"),
        Column("n_heads", "int64", "", "heads of the model"),
        Column("n_samples", "int64", "", "samples of the task"),
        Column("min_samples", "int64", "", "samples before which no head is left out"),
        Column("n_orders", "int64", "", "random orders of the samples"),
        Column("saved", "float64", "percent", "head-sample measurements saved; mean over orders"),
        Column("recall_top", "float64", "percent", "top heads found; mean; NaN if real", nan=True),
        Column("recall_top_min", "float64", "percent", "the same in the worst order", nan=True),
        Column(
            "recall_mass",
            "float64",
            "percent",
            "positive score of the heads found, of that of the top heads; mean; NaN if real",
            nan=True,
        ),
    ),
)

EFFICIENCY = Schema(
    name="efficiency",
    version=1,
    rule="tabulate_efficiency",
    meaning="Cost of localization per instance, means over trials (paper's Table 9). Written as "
    "CSV and Markdown only, because times differ from run to run.",
    key=("model", "method"),
    columns=(
        MODEL,
        Column(
            "method",
            "string",
            "",
            "hones: neuron effects of given heads; hones_with_heads: with the search for them; "
            "qrnca; group_patching",
        ),
        Column("n_trials", "int64", "", "samples of examples"),
        Column("seconds", "float64", "s", "on a CPU process time, on a GPU elapsed time"),
        Column("seconds_sd", "float64", "s", "standard deviation over trials", nan=True),
        Column("token_layers", "float64", "", "tokens times decoder layers run forward"),
        Column("plain_token_layers", "float64", "", "the same if every pass ran the whole prompt"),
        Column("device", "string", "", "what the seconds were measured on"),
        PAPER_MODEL,
        Column("paper_seconds", "float64", "s", "the paper's figure; NaN if none", nan=True),
        Column("paper_seconds_sd", "float64", "s", "its standard deviation", nan=True),
        Column("paper_device", "string", "", "what it was measured on; empty if none"),
    ),
)
