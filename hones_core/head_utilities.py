"""The utilities that score a head, of the rows of HEAD_EFFECTS (METHOD 4)."""

import numpy as np
import pandas as pd

from hones_core.schemas.heads import BASE

UTILITIES = ("task_metric", "target_logprob", "first_token_prob")


def check_top_heads(top_k: int, n_heads: int, n_screened: int = 0) -> None:
    """Raise ValueError if `top_k` heads can't be selected of those measured on all samples."""
    if not 0 < top_k <= n_heads:
        raise ValueError(
            f"top_heads is {top_k}, but the model has {n_heads} heads; lower the model's top_heads"
        )
    if top_k > n_heads - n_screened:
        raise ValueError(
            f"top_heads is {top_k}, but screening left only {n_heads - n_screened} heads measured "
            "on all samples; measure the heads again with the larger top_heads"
        )


def head_drops(effects: pd.DataFrame, utility: str) -> pd.DataFrame:
    """Loss of utility [instances, heads] of HEAD_EFFECTS; NaN where a head was not measured.

    Raises ValueError for an unknown utility.
    """
    check_utility(utility)
    values = effects.assign(value=utility_values(effects, utility))
    wide = values.pivot(index="instance_id", columns=["layer", "head"], values="value")
    return wide.drop(columns=[(BASE, BASE)]).rsub(wide[BASE, BASE], axis=0)


def check_utility(utility: str) -> None:
    """Raise ValueError for a name that is not in UTILITIES."""
    if utility not in UTILITIES:
        raise ValueError(f"unknown head utility {utility!r}; known: {', '.join(UTILITIES)}")


def utility_values(frame: pd.DataFrame, utility: str) -> np.ndarray:
    """The utility of each row, [rows]."""
    if utility == "task_metric":
        return frame["utility"].to_numpy()
    if utility == "target_logprob":
        return frame["target_logprob"].to_numpy()
    return np.exp(frame["first_token_logprob"].to_numpy())
