"""Artifacts of base prediction and head localization."""

from hones_core.artifacts import Column, Schema
from hones_core.schemas.benchmark import INSTANCE_ID, SPLIT

BASE = -1  # stands for layer and head in the rows of the unchanged model

LAYER = Column("layer", "int64", "", "decoder layer, from 0")
HEAD = Column("head", "int64", "", "query head within the layer, from 0")
PREDICTION = Column("prediction", "string", "", "generated text; for retrieval the best candidate")
UTILITY = Column("utility", "float64", "", "instance-level utility P in [0, 1] (METHOD 3)")
TARGET_LOGPROB = Column(
    "target_logprob",
    "float64",
    "nat",
    "mean log-probability of the target's tokens, teacher-forced",
)
FIRST_TOKEN_LOGPROB = Column(
    "first_token_logprob", "float64", "nat", "log-probability of the target's first token"
)
CLOSE_CALL = Column(
    "close_call",
    "bool",
    "",
    "whether a choice hung on less than the engine's margin and was made again the plain way",
)
STATISTICS = Column(
    "statistics", "list<float64>", "", "additive sufficient statistics of the task's score"
)

BASE_PREDICTIONS = Schema(
    name="base_predictions",
    version=2,
    rule="predict_base",
    meaning="The unchanged model's prediction for every instance of every split.",
    key=("instance_id",),
    columns=(
        INSTANCE_ID,
        SPLIT,
        PREDICTION,
        UTILITY,
        TARGET_LOGPROB,
        FIRST_TOKEN_LOGPROB,
        STATISTICS,
        CLOSE_CALL,
    ),
)

HEAD_EFFECTS = Schema(
    name="head_effects",
    version=2,
    rule="measure_head_effects",
    meaning="Per-sample outcome with one head mean-replaced; layer and head are -1 for the base. "
    "A head that was screened (heads.screening) has no rows for the later samples.",
    key=("layer", "head", "instance_id"),
    columns=(
        LAYER,
        HEAD,
        INSTANCE_ID,
        UTILITY,
        TARGET_LOGPROB,
        FIRST_TOKEN_LOGPROB,
        CLOSE_CALL,
    ),
)

HEAD_RANKING = Schema(
    name="head_ranking",
    version=2,
    rule="rank_heads",
    meaning="Heads ordered by S_t(h), then by log-probability drop, then by (layer, head); those "
    "that were screened come after all others.",
    key=("rank",),
    columns=(
        Column("rank", "int64", "", "place in the order, from 0"),
        LAYER,
        HEAD,
        Column("score", "float64", "", "S_t(h): mean utility lost under the intervention"),
        Column("logprob_drop", "float64", "nat", "mean target log-probability lost"),
        Column("selected", "bool", "", "whether it is among the top K_h"),
        Column("n_samples", "int64", "", "samples that its score and log-probability drop are of"),
        Column("screened", "bool", "", "whether screening left it out of the other samples"),
    ),
)
