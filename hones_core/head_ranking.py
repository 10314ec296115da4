"""From the effects of heads to their order: S_t(h) (METHOD 4)."""

import numpy as np
import pandas as pd

from hones_core.schemas.heads import BASE

SCORE_DECIMALS = 12  # the same drops summed in another order differ in about the 16th
UTILITIES = ("task_metric", "target_logprob", "first_token_prob")


def rank_heads(effects: pd.DataFrame, utility: str, top_k: int) -> pd.DataFrame:
    """The HEAD_RANKING artifact: S_t(h) = E[P(base) - P(intervened)] and the order it gives.

    `utility` is one of UTILITIES. Ties are broken by the drop of the target's log-probability,
    then by (layer, head); scores that differ only by the rounding of their sums are ties. Raises
    ValueError for an unknown utility, a head that was not measured on exactly the base's
    instances, or more heads asked for than there are.
    """
    if utility not in UTILITIES:
        raise ValueError(f"unknown head utility {utility!r}; known: {', '.join(UTILITIES)}")
    effects = effects.sort_values("instance_id")
    is_base = effects["layer"] == BASE
    base = effects[is_base]
    rows = []
    for (layer, head), group in effects[~is_base].groupby(["layer", "head"]):
        if group["instance_id"].tolist() != base["instance_id"].tolist():
            raise ValueError(f"head {layer}.{head} was not measured on the same instances as base")
        drop = _utility(base, utility) - _utility(group, utility)
        logprob_drop = base["target_logprob"].to_numpy() - group["target_logprob"].to_numpy()
        score = round(float(drop.mean()), SCORE_DECIMALS) + 0.0  # no -0
        rows.append((layer, head, score, logprob_drop.mean()))
    if not 0 < top_k <= len(rows):
        raise ValueError(f"top_heads is {top_k}, but the model has {len(rows)} heads")
    ranking = pd.DataFrame(rows, columns=["layer", "head", "score", "logprob_drop"])
    ranking = ranking.sort_values(
        ["score", "logprob_drop", "layer", "head"], ascending=[False, False, True, True]
    )
    ranking["rank"] = np.arange(len(ranking))
    ranking["selected"] = ranking["rank"] < top_k
    return ranking


def _utility(frame: pd.DataFrame, utility: str) -> np.ndarray:
    if utility == "task_metric":
        return frame["utility"].to_numpy()
    if utility == "target_logprob":
        return frame["target_logprob"].to_numpy()
    return np.exp(frame["first_token_logprob"].to_numpy())
