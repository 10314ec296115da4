"""How the drop grows with the number of heads, and of neurons, silenced (paper's Fig. 7)."""

from collections.abc import Sequence

import pandas as pd

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import Intervention, MeanReplaceHeads
from hones_core.masking import predict_masked
from hones_core.neuron_sets import top_set
from hones_core.predictions import outcomes_under, prediction_row
from hones_core.schemas.sweeps import HEAD_BUDGET_PREDICTIONS, NO_HEADS
from hones_core.tasks.instances import Instance


def predict_head_budget(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    ranking: pd.DataFrame,
    budgets: Sequence[int],
    positions: str = "all",
) -> pd.DataFrame:
    """The HEAD_BUDGET_PREDICTIONS artifact: the first k heads of a HEAD_RANKING at once.

    The unchanged model is there too, as k = 0; a k above the number of heads is cut to it. Heads
    that were screened do not count: they have no place in the order.
    """
    order = ranking[~ranking["screened"]].sort_values("rank")
    heads = list(zip(order["layer"].tolist(), order["head"].tolist(), strict=True))
    settings: dict[int, Intervention | None] = {NO_HEADS: None}
    for budget in budgets:
        size = min(budget, len(heads))
        settings[size] = MeanReplaceHeads(tuple(heads[:size]), positions) if size else None
    rows = [
        {"n_heads": size, **prediction_row(outcome)}
        for size, outcome in outcomes_under(evaluator, instances, settings)
    ]
    return pd.DataFrame(rows, columns=HEAD_BUDGET_PREDICTIONS.names)


def predict_ratio_masked(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    ranking: pd.DataFrame,
    rankers: Sequence[str],
    ratios: Sequence[float],
) -> pd.DataFrame:
    """The RATIO_PREDICTIONS artifact: top shares of each ranker (its first seed) set to zero."""
    sets = {
        (ranker, ratio): top_set(ranking, ranker, ratio) for ranker in rankers for ratio in ratios
    }
    return predict_masked(evaluator, instances, sets, ("ranker", "ratio"))
