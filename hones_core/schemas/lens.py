"""Artifacts of the logit lens."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID
from hones_core.schemas.heads import LAYER
from hones_core.schemas.masking import N_NEURONS
from hones_core.schemas.table_columns import LEVEL, MODEL, N_RESAMPLES, estimate_columns

SETS = ("dominant", "specific")
KINDS = ("target", "format", "other")

_SET = Column("set", "string", "", "dominant: the task's dominant group; specific: its own group")
_GROUP = Column("group", "string", "", "overlap group that is masked; empty if there is none")
_KIND = Column("kind", "string", "", "target, format or other: docs/methods.md, Logit lens")
_SIGN = "unchanged less masked run"

LOGIT_LENS_BY_LAYER = Schema(
    name="logit_lens_by_layer",
    version=1,
    rule="measure_logit_lens",
    meaning="What a layer's FFN loses for each kind of token on test, at the last prompt token, "
    "with a group of neurons set to zero. An empty group has no rows.",
    key=("set", "layer", "kind", "instance_id"),
    columns=(
        _SET,
        _GROUP,
        LAYER,
        _KIND,
        INSTANCE_ID,
        Column("n_tokens", "int64", "", "tokens of that kind"),
        Column("lost", "float64", "logit", f"mean over them of the lens logit, {_SIGN}"),
    ),
)

LOGIT_LENS_TOKENS = Schema(
    name="logit_lens_tokens",
    version=1,
    rule="measure_logit_lens",
    meaning="The five tokens that lose most at each layer, of every test instance. A layer where "
    "nothing is lost has no rows.",
    key=("set", "layer", "instance_id", "rank"),
    columns=(
        _SET,
        _GROUP,
        LAYER,
        INSTANCE_ID,
        Column("rank", "int64", "", "place by lost logit, from 0"),
        Column("token_id", "int64", "", "row of the unembedding"),
        Column("token", "string", "", "what it says, with the space before a word"),
        _KIND,
        Column("lost", "float64", "logit", f"lens logit, {_SIGN}"),
    ),
)

LOGIT_LENS_SAMPLES = Schema(
    name="logit_lens_samples",
    version=1,
    rule="choose_lens_samples",
    meaning="The representative test instances of the logit lens' figure, and their answers.",
    key=("task", "sample", "set"),
    columns=(
        Column("task", "string", "", "vqa, ocr, caption or retrieval"),
        Column("sample", "int64", "", "number of the sample within the task, from 0"),
        _SET,
        _GROUP,
        N_NEURONS,
        INSTANCE_ID,
        Column("image", "string", "", "file name in the task's image folder"),
        Column("prompt", "string", "", "the instruction, without the chat format"),
        Column("target", "string", "", "the first of its targets"),
        Column("base_answer", "string", "", "the unchanged model's; retrieval: best candidate"),
        Column("base_utility", "float64", "", "its utility in [0, 1]"),
        Column("masked_answer", "string", "", "with the group masked; the base's if it is empty"),
        Column("masked_utility", "float64", "", "its utility in [0, 1]"),
    ),
)

LOGIT_LENS = Schema(
    name="logit_lens",
    version=1,
    rule="tabulate_logit_lens",
    meaning="Mean logit lost by each kind of token at each layer, over the test instances, with "
    "the task's dominant and its own group set to zero (paper's Fig. 4 and 9 show single samples).",
    key=("model", "task", "set", "layer", "kind"),
    columns=(
        MODEL,
        Column("task", "string", "", "vqa, ocr, caption or retrieval"),
        _SET,
        _GROUP,
        N_NEURONS,
        Column("layer", "int64", "", "decoder layer, from 0; -1: the set is empty"),
        Column("kind", "string", "", "target, format or other; none: the set is empty"),
        Column("n_instances", "int64", "", "test instances; 0 if the set is empty"),
        *estimate_columns("lost", "logit", f"mean of these tokens, {_SIGN}; NaN if empty"),
        *estimate_columns("excess", "logit", "lost less that of the other tokens; NaN for these"),
        LEVEL,
        N_RESAMPLES,
    ),
)
