"""From the effects of heads to their order: S_t(h) (METHOD 4)."""

import numpy as np
import pandas as pd

from hones_core.head_utilities import check_top_heads, check_utility, utility_values
from hones_core.schemas.heads import BASE

SCORE_DECIMALS = 12  # the same drops summed in another order differ in about the 16th


def rank_heads(
    effects: pd.DataFrame, utility: str, top_k: int, screening: bool = False
) -> pd.DataFrame:
    """The HEAD_RANKING artifact: S_t(h) = E[P(base) - P(intervened)] and the order it gives.

    `utility` is one of head_utilities.UTILITIES. Ties are broken by the drop of the target's
    log-probability, then by (layer, head); scores that differ only by the rounding of their sums
    are ties. With `screening`, heads may have been left out of some instances: their scores are
    over those that they were measured on, and they come after all others.

    Raises ValueError for an unknown utility, a head that was not measured on exactly the base's
    instances (with `screening`: on other instances than the base's), or more heads asked for than
    were measured on all of them.
    """
    check_utility(utility)
    effects = effects.sort_values("instance_id")
    is_base = effects["layer"] == BASE
    base = effects[is_base].set_index("instance_id", drop=False)
    rows = []
    for (layer, head), group in effects[~is_base].groupby(["layer", "head"]):
        own = _same_instances(base, group, screening)
        if own is None:
            raise ValueError(f"head {layer}.{head} was not measured on the same instances as base")
        drop = utility_values(own, utility) - utility_values(group, utility)
        logprob_drop = own["target_logprob"].to_numpy() - group["target_logprob"].to_numpy()
        score = round(float(drop.mean()), SCORE_DECIMALS) + 0.0  # no -0
        rows.append((layer, head, score, logprob_drop.mean(), len(group), len(group) < len(base)))
    columns = ["layer", "head", "score", "logprob_drop", "n_samples", "screened"]
    ranking = pd.DataFrame(rows, columns=columns)
    check_top_heads(top_k, len(ranking), int(ranking["screened"].sum()))
    ranking = ranking.sort_values(
        ["screened", "score", "logprob_drop", "layer", "head"],
        ascending=[True, False, False, True, True],
    )
    ranking["rank"] = np.arange(len(ranking))
    ranking["selected"] = ranking["rank"] < top_k
    return ranking


def selected_heads(ranking: pd.DataFrame) -> list[tuple[int, int]]:
    """The heads (layer, head) that neuron scores are conditioned on, as HEAD_RANKING lists them."""
    chosen = ranking[ranking["selected"]]
    return list(zip(chosen["layer"].tolist(), chosen["head"].tolist(), strict=True))


def _same_instances(
    base: pd.DataFrame, group: pd.DataFrame, screening: bool
) -> pd.DataFrame | None:
    """The base's rows of the group's instances, in its order; None if they do not belong to it."""
    ids = group["instance_id"].tolist()
    if not screening:
        return base if ids == base["instance_id"].tolist() else None
    known = len(set(ids)) == len(ids) and set(ids) <= set(base.index)
    return base.loc[ids] if known else None
