"""How well each ranker finds the planted neurons: AUROC and precision at k against the truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hones_core.models.adapter import Adapter
from hones_core.planted.circuit import DISTRACTORS, Strengths
from hones_core.planted.families import FAMILIES
from hones_core.planted.measure import Options, measure_task, rank_task
from hones_core.planted.plan import plan, truth
from hones_core.tasks.instances import Instance

REFERENCE_STRENGTH = 1.0  # distractors that write as much as a planted neuron


def recovery_tables(
    folder: Path,
    instances: Mapping[str, Sequence[Instance]],
    strengths: Sequence[float],
    seed: int,
    options: Options,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The PLANTED_STRENGTHS and PLANTED_TRUTH artifacts of every family, for `instances` by task.

    `folder` holds their images; `seed` places heads and neurons and draws the random weights.
    """
    found, truths = [], []
    for family, build in FAMILIES.items():
        for strength in strengths:
            planted = plan(Strengths.all(strength), seed)
            labels = truth(planted)
            rows = recover(build(planted), labels, folder, instances, options)
            found.append(rows.assign(model=family, strength=float(strength)))
        truths.append(labels.assign(model=family))  # the same for all strengths
    return pd.concat(found, ignore_index=True), pd.concat(truths, ignore_index=True)


def recover(
    adapter: Adapter,
    labels: pd.DataFrame,
    folder: Path,
    instances: Mapping[str, Sequence[Instance]],
    options: Options,
) -> pd.DataFrame:
    """What every ranker finds in one model; `labels` is its truth."""
    measured = {
        task: measure_task(adapter, task, folder, instances[task], options) for task in instances
    }
    found = []
    for task, of_task in measured.items():
        rankings = rank_task(task, measured, options)
        rows = score_rankings(rankings, labels[labels["task"] == task])
        found.append(rows.assign(task=task, base_utility=of_task.base_utility))
    return pd.concat(found, ignore_index=True)


def score_rankings(rankings: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """AUROC and precision of every ranker against every kind of distractor, for one task.

    `rankings` is a NEURON_RANKING artifact, `labels` the task's rows of PLANTED_TRUTH.
    """
    neurons = labels[labels["kind"] == "neuron"].rename(columns={"index": "neuron"})
    rows = []
    for (ranker, _), ranking in rankings.groupby(["ranker", "seed"], sort=False):
        labelled = ranking.merge(neurons[["layer", "neuron", "label"]], on=["layer", "neuron"])
        if len(labelled) != len(neurons):
            raise ValueError(f"{ranker} ranks {len(ranking)} neurons, the model has {len(neurons)}")
        score = tied_score(labelled)
        label = labelled["label"].to_numpy()
        for distractor in (*DISTRACTORS, "background", "all"):
            rows.append((ranker, distractor, *_compare(score, label, distractor)))
    names = ["ranker", "distractor", "auroc", "precision_at_k", "auroc_alone"]
    frame = pd.DataFrame(rows, columns=[*names, "n_planted", "n_others"])
    keys = ["ranker", "distractor"]  # a random ranker has several seeds
    out = frame.groupby(keys, sort=False, as_index=False).mean()
    seeds = frame.groupby(keys, sort=False).size().to_numpy()
    return out.assign(n_seeds=seeds).astype({"n_planted": "int64", "n_others": "int64"})


def _compare(
    score: np.ndarray, label: np.ndarray, distractor: str
) -> tuple[float, float, float, int, int]:
    planted = label == "planted"
    alone = np.isin(label, DISTRACTORS) if distractor == "all" else label == distractor
    others = ~planted if distractor == "all" else alone | (label == "background")
    chosen = planted | others
    n_planted = int(planted.sum())
    return (
        auroc(score[planted], score[others]),
        precision_at_k(score[chosen], planted[chosen], n_planted),
        auroc(score[planted], score[alone]),
        n_planted,
        int(others.sum()),
    )


def tied_score(ranking: pd.DataFrame) -> np.ndarray:
    """One number per row, larger is better, equal where score and tie-breaker are equal.

    The last criterion of a ranking, layer and index, says nothing about a neuron and is left out.
    """
    by_rank = ranking.sort_values("rank")
    pair = by_rank[["score", "tie_break"]]
    group = (pair != pair.shift()).any(axis=1).cumsum()
    return -group.reindex(ranking.index).to_numpy(dtype=float)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """P(a positive's score > a negative's), a tie counts a half; ValueError if one is empty."""
    if not len(positive) or not len(negative):
        raise ValueError("an AUROC needs at least one score of each kind")
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    not_above = np.searchsorted(ordered, positive, side="right")
    return float((below + not_above).mean() / 2 / len(negative))


def precision_at_k(score: np.ndarray, positive: np.ndarray, k: int) -> float:
    """Share of positives among the k largest scores, expected over the order of ties."""
    if not 0 < k <= len(score):
        raise ValueError(f"k is {k}, but there are {len(score)} scores")
    threshold = np.sort(score)[-k]
    above, tied = score > threshold, score == threshold
    places = k - above.sum()
    return float((positive[above].sum() + places * positive[tied].mean()) / k)
