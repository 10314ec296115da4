"""Masking: what the tasks lose when sets of neurons are silenced (METHOD 7, 8)."""

from collections.abc import Sequence
from typing import TypeVar

import pandas as pd

from hones_core.engine.evaluate import Evaluator, Outcome
from hones_core.engine.interventions import Intervention, ZeroNeurons
from hones_core.neuron_sets import NeuronSet
from hones_core.progress import progress
from hones_core.tasks.instances import Instance

Label = TypeVar("Label")

PREDICTION_COLUMNS = ("instance_id", "prediction", "utility", "statistics", "close_call")


def outcomes_under(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    interventions: dict[Label, Intervention | None],
    score_targets: bool = False,
) -> list[tuple[Label, Outcome]]:
    """Every instance under every intervention (None: unchanged); images are encoded once."""
    results = []
    chunks = evaluator.chunks(instances)
    for chunk in progress(chunks, f"{evaluator.task_name} x {len(interventions)} settings"):
        prepared = evaluator.prepare(chunk, score_targets)
        for label, outcomes in evaluator.outcomes_under(prepared, interventions).items():
            results += [(label, outcome) for outcome in outcomes]
    return results


def predict_base(evaluator: Evaluator, instances: Sequence[Instance]) -> pd.DataFrame:
    """The BASE_PREDICTIONS artifact: the unchanged model on every instance."""
    split = {instance.instance_id: instance.split for instance in instances}
    results = outcomes_under(evaluator, instances, {"base": None}, score_targets=True)
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


def predict_masked(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    sets: dict[tuple, NeuronSet],
    label_columns: Sequence[str],
) -> pd.DataFrame:
    """Predictions with each set of neurons at zero, one row per set and instance.

    The parts of a set's label go to `label_columns`, in that order. An empty set is not run: it
    has no effect and is reported as empty by the tables.
    """
    interventions = {label: ZeroNeurons.of(neurons) for label, neurons in sets.items() if neurons}
    results = outcomes_under(evaluator, instances, interventions)
    rows = [
        (*label, len(sets[label]), *prediction_row(outcome).values()) for label, outcome in results
    ]
    return pd.DataFrame(rows, columns=[*label_columns, "n_neurons", *PREDICTION_COLUMNS])


def prediction_row(outcome: Outcome) -> dict:
    """The columns that every artifact of predictions shares."""
    return {column: getattr(outcome, column) for column in PREDICTION_COLUMNS}
