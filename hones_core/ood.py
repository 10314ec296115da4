"""The unchanged model on the out-of-distribution sets (METHOD 8, E.3)."""

from collections.abc import Sequence

import pandas as pd

from hones_core.engine.evaluate import Evaluator
from hones_core.predictions import outcomes_under, prediction_row
from hones_core.schemas.ood import OOD_PREDICTIONS
from hones_core.tasks.instances import Instance
from hones_core.tasks.ood import METRICS


def predict_ood(evaluator: Evaluator, ood_set: str, instances: Sequence[Instance]) -> pd.DataFrame:
    """The OOD_PREDICTIONS artifact of one set; `evaluator` is of the set's task.

    The utility is the set's first metric; TextVQA's second, ANLS, has a column of its own.
    """
    by_id = {instance.instance_id: instance for instance in instances}
    anls = METRICS[ood_set].get("anls")
    rows = []
    for _, outcome in outcomes_under(evaluator, instances, {"base": None}):
        second = anls(outcome.prediction, by_id[outcome.instance_id]) if anls else float("nan")
        rows.append({"ood_set": ood_set, **prediction_row(outcome), "anls": second})
    return pd.DataFrame(rows, columns=OOD_PREDICTIONS.names)
