"""Masking: what the tasks lose when sets of neurons are silenced (METHOD 7, 8)."""

from collections.abc import Sequence

import pandas as pd

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import Intervention, ZeroNeurons
from hones_core.neuron_sets import NeuronSet
from hones_core.partial import Parts
from hones_core.predictions import PREDICTION_COLUMNS, outcomes_under, prediction_row
from hones_core.tasks.instances import Instance


def predict_masked(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    sets: dict[tuple, NeuronSet],
    label_columns: Sequence[str],
    parts: Parts | None = None,
    unchanged: tuple | None = None,
) -> pd.DataFrame:
    """Predictions with each set of neurons at zero, one row per set and instance.

    The parts of a set's label go to `label_columns`, in that order. Labels of the same neurons are
    run once. An empty set is not run: it has no effect and is reported as empty by the tables. A
    label `unchanged` adds the model without any mask. `parts` as in `outcomes_under`.
    """
    named = {label: neurons for label, neurons in sets.items() if neurons}
    if unchanged is not None:
        named[unchanged] = frozenset()
    alike: dict[NeuronSet, list[tuple]] = {}
    for label, neurons in named.items():
        alike.setdefault(neurons, []).append(label)
    interventions: dict[tuple, Intervention | None] = {
        labels[0]: ZeroNeurons.of(neurons) if neurons else None for neurons, labels in alike.items()
    }
    rows = [
        (*label, len(named[label]), *prediction_row(outcome).values())
        for first, outcome in outcomes_under(evaluator, instances, interventions, parts=parts)
        for label in alike[named[first]]
    ]
    return pd.DataFrame(rows, columns=[*label_columns, "n_neurons", *PREDICTION_COLUMNS])


def with_nonzero_scores(predictions: pd.DataFrame, ranking: pd.DataFrame) -> pd.DataFrame:
    """`predictions` by ranker and seed with the column `n_nonzero` of MASKED_PREDICTIONS.

    `ranking` is NEURON_RANKING; of each order the neurons are counted whose score is not 0. Where
    they are fewer than are masked, the tie-breaker chose the others (METHOD 5).
    """
    nonzero = (ranking["score"] != 0).groupby([ranking["ranker"], ranking["seed"]]).sum()
    counts = {order: int(count) for order, count in nonzero.items()}
    orders = zip(predictions["ranker"], predictions["seed"], strict=True)
    return predictions.assign(n_nonzero=[counts[order] for order in orders])
