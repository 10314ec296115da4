"""What a model answers: unchanged, and under interventions."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import pandas as pd

from hones_core.engine.evaluate import Evaluator, Outcome
from hones_core.engine.interventions import Intervention
from hones_core.measuring import outcomes_by_chunk
from hones_core.partial import Parts
from hones_core.tasks.instances import Instance

Label = TypeVar("Label", bound=Hashable)

PREDICTION_COLUMNS = ("instance_id", "prediction", "utility", "statistics", "close_call")


def outcomes_under(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    interventions: Mapping[Label, Intervention | None],
    score_targets: bool = False,
    parts: Parts | None = None,
) -> list[tuple[Label, Outcome]]:
    """Every instance under every intervention (None: unchanged); images are encoded once.

    `parts` keeps what each chunk gave, for a job that may be killed.
    """
    found = outcomes_by_chunk(
        evaluator,
        evaluator.chunks(instances),
        lambda: interventions,
        f"{evaluator.task_name}, {len(interventions)} settings",
        parts,
        score_targets,
    )
    return [
        (label, outcome)
        for chunk in found
        for label, outcomes in chunk.items()
        for outcome in outcomes
    ]


def predict_base(
    evaluator: Evaluator, instances: Sequence[Instance], parts: Parts | None = None
) -> pd.DataFrame:
    """The BASE_PREDICTIONS artifact: the unchanged model on every instance; `parts` as above."""
    split = {instance.instance_id: instance.split for instance in instances}
    results = outcomes_under(evaluator, instances, {"base": None}, score_targets=True, parts=parts)
    rows = [
        {
            **prediction_row(outcome),
            "split": split[outcome.instance_id],
            "target_logprob": outcome.target_logprob,
            "first_token_logprob": outcome.first_token_logprob,
        }
        for _, outcome in results
    ]
    return pd.DataFrame(rows)


def prediction_row(outcome: Outcome) -> dict:
    """The columns that every artifact of predictions shares."""
    return {column: getattr(outcome, column) for column in PREDICTION_COLUMNS}
