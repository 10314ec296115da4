"""How well each ranker finds the planted neurons: AUROC and precision at k against the truth."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from hones_core.attribution.activations import measure_activations
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.attribution.rankers import RANKERS, Measurements, rank_neurons
from hones_core.engine.evaluate import Evaluator
from hones_core.head_ranking import rank_heads
from hones_core.heads import measure_head_effects
from hones_core.planted.circuit import DISTRACTORS, Strengths
from hones_core.planted.families import FAMILIES
from hones_core.planted.plan import plan, truth
from hones_core.planted.world import CONTENTS, ROW_LENGTH, TASKS
from hones_core.schemas.heads import BASE
from hones_core.tasks.instances import Instance

ROUTING_HEADS = 2  # of every task: all that the neuron scores are conditioned on
REFERENCE_STRENGTH = 1.0  # distractors that write as much as a planted neuron
LEAST_UTILITY = 0.95  # a model that does not solve its task has no circuit to recover


@dataclass(frozen=True)
class Options:
    """How the rankers measure, as in the config's sections `heads` and `neurons`.

    head_samples: instances for head localization, the most expensive step; the neurons are scored
    on all.
    """

    head_samples: int = 2 * CONTENTS
    batch_size: int = 64
    positions: str = "all"
    clip: str = "per_sample"
    idf_tokens: str = "all"
    aggregate: str = "mean"
    activation: str = "z"
    activation_threshold: float = 0.0


@dataclass(frozen=True)
class Recovered:
    """The rankings of one task, and the base utility they rest on (mean, in [0, 1])."""

    rankings: pd.DataFrame
    base_utility: float


def recovery_tables(
    folder: Path,
    instances: Mapping[str, Sequence[Instance]],
    strengths: Sequence[float],
    seed: int,
    ranker_seeds: Sequence[int],
    options: Options,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The PLANTED_STRENGTHS and PLANTED_TRUTH artifacts of every family, for `instances` by task.

    `folder` holds their images; `seed` places heads and neurons and draws the random weights.
    """
    found, truths = [], []
    for family, build in FAMILIES.items():
        for strength in strengths:
            planted = plan(Strengths.all(strength), seed)
            adapter = build(planted)
            labels = truth(planted)
            for task in TASKS:
                evaluator = Evaluator(adapter, task, folder, options.batch_size, ROW_LENGTH + 1)
                recovered = recover(evaluator, instances[task], ranker_seeds, options)
                rows = score_rankings(recovered.rankings, labels[labels["task"] == task])
                found.append(
                    rows.assign(
                        model=family,
                        task=task,
                        strength=float(strength),
                        base_utility=recovered.base_utility,
                    )
                )
        truths.append(labels.assign(model=family))
    return pd.concat(found, ignore_index=True), pd.concat(truths, ignore_index=True)


def recover(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    ranker_seeds: Sequence[int],
    options: Options,
) -> Recovered:
    """Every registered ranker's order of one task's neurons, and the model's base utility.

    Raises ValueError if the unchanged model does not solve the task.
    """
    head_effects = measure_head_effects(
        evaluator, instances[: options.head_samples], options.positions
    )
    utility = float(head_effects.loc[head_effects["layer"] == BASE, "utility"].mean())
    if utility < LEAST_UTILITY:
        raise ValueError(
            f"the planted model scores {utility:.2f} in {evaluator.task_name}: its circuit does "
            "not work, so there is no truth to recover; use weaker distractors"
        )
    measured = _measure(evaluator, instances, head_effects, options)
    rankings = rank_neurons(measured, list(RANKERS), list(ranker_seeds))
    return Recovered(rankings, utility)


def _measure(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    head_effects: pd.DataFrame,
    options: Options,
) -> Measurements:
    """All that the rankers ask for; a field that is added there needs its source here."""
    heads = rank_heads(head_effects, "task_metric", ROUTING_HEADS)
    selected = heads[heads["selected"]]
    sources = {
        "head_ranking": lambda: heads,
        "neuron_effects": lambda: measure_neuron_effects(
            evaluator,
            instances,
            documents=instances,
            heads=list(zip(selected["layer"], selected["head"], strict=True)),
            clip=options.clip,
            positions=options.positions,
            idf_tokens=options.idf_tokens,
        ),
        "activations": lambda: measure_activations(
            evaluator,
            instances,
            options.aggregate,
            options.activation,
            options.activation_threshold,
        ),
    }
    needed = [field.name for field in fields(Measurements) if field.default is MISSING]
    unknown = sorted(set(needed) - set(sources))
    if unknown:
        raise ValueError(f"nothing here measures what some rankers need: {', '.join(unknown)}")
    return Measurements(**{name: sources[name]() for name in needed})


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
    keys = ["ranker", "distractor"]
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
