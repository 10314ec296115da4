"""What screening of heads saves and what it finds: simulated on full effects, real on screened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from hones_core.head_ranking import rank_heads
from hones_core.head_utilities import head_drops
from hones_core.schemas.tables import HEAD_SCREENING
from hones_core.screening import Elimination, Screening
from hones_core.tables.common import DECIMALS, Frames

STEP = 8  # samples between two looks at the bounds; a real run looks after every chunk
REAL, SIMULATED = "real", "simulated"


def head_screening(
    effects: Frames,
    top_heads: Mapping[str, int],
    screening: Screening,
    zs: Sequence[float],
    n_orders: int,
    seed: int = 0,
) -> pd.DataFrame:
    """The HEAD_SCREENING table of the HEAD_EFFECTS artifacts, by (model, task).

    Effects of all heads on all samples: `n_orders` random orders of the samples are simulated for
    each of `zs`, with the utility and smallest number of samples of `screening` and the model's
    `top_heads`. Effects that lack rows were screened, by `screening`: what that saved.
    """
    rows = []
    for (model, task), frame in effects.items():
        used = replace(screening, top_heads=top_heads[model])
        found = _rows(frame, used, zs, n_orders, seed)
        rows += [{"model": model, "task": task, **row} for row in found]
    return pd.DataFrame(rows)[HEAD_SCREENING.names].round(DECIMALS)


def simulate(drops: np.ndarray, screening: Screening, seed: int, step: int = STEP) -> np.ndarray:
    """On how many samples [heads] each head would be measured, in one random order of samples.

    drops [N, heads] are the losses of every head on every sample; heads are left out after every
    `step` samples.
    """
    order = np.random.default_rng(seed).permutation(len(drops))
    elimination = Elimination(screening, drops.shape[1], len(drops))
    measured = np.zeros(drops.shape[1], dtype=np.int64)
    for start in range(0, len(order), step):
        chunk = drops[order[start : start + step]]
        measured[elimination.left] += len(chunk)
        elimination.add(chunk)
    return measured


def _rows(
    effects: pd.DataFrame, screening: Screening, zs: Sequence[float], n_orders: int, seed: int
) -> Iterator[dict]:
    drops = head_drops(effects, screening.utility)
    ranking = rank_heads(effects, screening.utility, screening.top_heads, screening=True)
    # The columns in the order of the ranking, so that the first are the best.
    ordered = drops[list(zip(ranking["layer"], ranking["head"], strict=True))].to_numpy()
    shared = {
        "top_heads": screening.top_heads,
        "n_heads": ordered.shape[1],
        "n_samples": ordered.shape[0],
        "min_samples": screening.min_samples,
    }
    if np.isnan(ordered).any():
        measured = ranking["n_samples"].to_numpy()
        yield {
            **shared,
            "kind": REAL,
            "z": screening.z,
            "n_orders": 1,
            **dict.fromkeys(("recall_top", "recall_top_min", "recall_mass"), np.nan),
            "saved": _saved(measured, len(ordered)),
        }
        return
    for z in zs:
        chosen = replace(screening, z=z)
        runs = [simulate(ordered, chosen, seed + run) for run in range(n_orders)]
        recalls = [_recalls(run == len(ordered), ranking, screening.top_heads) for run in runs]
        top, mass = np.transpose(recalls)
        yield {
            **shared,
            "kind": SIMULATED,
            "z": z,
            "n_orders": n_orders,
            "saved": np.mean([_saved(run, len(ordered)) for run in runs]),
            "recall_top": top.mean(),
            "recall_top_min": top.min(),
            "recall_mass": mass.mean(),
        }


def _saved(measured: np.ndarray, n_samples: int) -> float:
    return 100 * (1 - float(measured.sum()) / (len(measured) * n_samples))


def _recalls(survived: np.ndarray, ranking: pd.DataFrame, top_k: int) -> tuple[float, float]:
    """Percent of the top heads, and of their positive scores, that the best survivors have."""
    chosen = np.flatnonzero(survived)[:top_k]  # heads are in the order of their scores
    mass = ranking["score"].clip(lower=0).to_numpy()
    best = mass[:top_k].sum()
    recall = 100 * float((chosen < top_k).mean())
    return recall, 100 * float(mass[chosen].sum() / best) if best else np.nan
