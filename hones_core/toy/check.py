"""What a toy model must show before it is shipped, and the model card that says what it shows.

The method looks for neurons that a task needs. A model that saturates its tasks, or whose
feed-forward layers are idle, can show neither the method nor its failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import pandas as pd

from hones_core.attribution.hones import base_contributions
from hones_core.attribution.rankers import order
from hones_core.neuron_sets import NeuronSet, budget, random_set
from hones_core.statistics import (
    Estimate,
    bootstrap_counts,
    combine,
    difference,
    mean_of,
    relative_drop,
    sample_scores,
    summarize,
)

BANDS = {  # score on unseen scenes: room to break and to improve
    "vqa": (0.75, 0.97),
    "ocr": (0.75, 0.98),
    "caption": (0.50, 0.92),
    "retrieval": (0.60, 0.97),
}
RATIOS = {"top_5_percent": 0.05, "top_1_percent": 0.01}
RANDOM = "random_like_"
RANDOM_SETS = 5


@dataclass(frozen=True)
class Check:
    """One task's figures: its score, and drops in percent."""

    task: str
    score: Estimate
    all_off: Estimate
    top: dict[str, Estimate]
    random: dict[str, Estimate]
    excess: dict[str, Estimate]

    @property
    def in_band(self) -> bool:
        """Whether the score leaves room to break and to improve."""
        low, high = BANDS[self.task]
        return low <= self.score.estimate <= high

    @property
    def needs_its_neurons(self) -> bool:
        """Whether the task loses more than half without any feed-forward layer."""
        return self.all_off.estimate > 50

    @property
    def top_hurts(self) -> bool:
        """Whether the top 5 % by direct projection hurt clearly more than random sets."""
        return self.top["top_5_percent"].low > self.random["top_5_percent"].high


def sets_to_mask(effects: pd.DataFrame, seed: int) -> dict[tuple[str, int], NeuronSet]:
    """{(setting, trial): neurons} from a NEURON_EFFECTS artifact.

    The top sets are those of plain direct vocabulary projection, E[z ⟨W, u_y⟩], without heads.
    """
    contribution = base_contributions(effects)
    n_layers, n_neurons = contribution.shape
    ranking = order(contribution, np.zeros_like(contribution))
    neurons = list(zip(ranking["layer"].tolist(), ranking["neuron"].tolist(), strict=True))
    sets: dict[tuple[str, int], NeuronSet] = {("all", 0): frozenset(neurons)}
    for name, ratio in RATIOS.items():
        top = frozenset(neurons[: budget(len(neurons), ratio)])
        sets[name, 0] = top
        for trial in range(RANDOM_SETS):
            key = (seed, name, trial)
            sets[RANDOM + name, trial] = random_set(top, n_layers, n_neurons, "uniform", key)
    return sets


def check_task(
    task: str,
    module: ModuleType,
    base: pd.DataFrame,
    masked: pd.DataFrame,
    resamples: int,
) -> Check:
    """Score and drops with 95 % paired-bootstrap intervals.

    base: BASE_PREDICTIONS, masked: TOY_CHECK_PREDICTIONS; both over the same test instances.
    """
    base = base[base["instance_id"].isin(masked["instance_id"])].sort_values("instance_id")
    systems = {
        key: rows.sort_values("instance_id") for key, rows in masked.groupby(["setting", "trial"])
    }
    for key, rows in systems.items():
        if rows["instance_id"].tolist() != base["instance_id"].tolist():
            raise ValueError(f"{task}: {key} was not run on the same instances as the base")
    counts = bootstrap_counts(len(base), resamples, seed=0)
    matrices = [np.stack(rows["statistics"].to_list()) for rows in (base, *systems.values())]
    unchanged, *scores = sample_scores(matrices, counts, module.score)
    drops = {
        key: combine(relative_drop, unchanged, score)
        for key, score in zip(systems, scores, strict=True)
    }
    random = {
        name: mean_of([drops[RANDOM + name, trial] for trial in range(RANDOM_SETS)])
        for name in RATIOS
    }
    return Check(
        task=task,
        score=summarize(unchanged),
        all_off=summarize(drops["all", 0]),
        top={name: summarize(drops[name, 0]) for name in RATIOS},
        random={name: summarize(random[name]) for name in RATIOS},
        excess={
            name: summarize(combine(difference, random[name], drops[name, 0])) for name in RATIOS
        },
    )


def card_section(checks: Mapping[str, Check], n_neurons: int, n_heads: int, size_mb: float) -> str:
    """The card's section of measured figures, in Markdown."""
    lines = [
        "Made by `snakemake --cores N check_toys` on the test split of the default run: scenes "
        "that training never saw. Drops in percent of the score, with 95 % paired-bootstrap "
        f"intervals; random: mean of {RANDOM_SETS} random sets of the same size. Top sets: plain "
        "direct vocabulary projection, E[z ⟨W, u_y⟩], chosen on the discovery split.",
        "",
        f"{n_neurons:,} neurons, {n_heads} heads, {size_mb:.1f} MB.",
        "",
        "| task | score | wanted | every MLP off | top 5 % | random 5 % | top 1 % | random 1 % |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for task, check in checks.items():
        low, high = BANDS[task]
        cells = [task, f"{check.score.estimate:.3f}", f"{low:.2f}–{high:.2f}"]
        cells += [_drop(check.all_off)]
        for name in RATIOS:
            cells += [_drop(check.top[name]), _drop(check.random[name])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *_verdicts(checks)]) + "\n"


def _verdicts(checks: Mapping[str, Check]) -> list[str]:
    rows = {
        "score inside the wanted band": [c.task for c in checks.values() if c.in_band],
        "more than half is lost with every MLP off": [
            c.task for c in checks.values() if c.needs_its_neurons
        ],
        "the top 5 % hurt clearly more than random sets (intervals apart)": [
            c.task for c in checks.values() if c.top_hurts
        ],
    }
    return [f"- {what}: {', '.join(tasks) or 'in no task'}" for what, tasks in rows.items()]


def _drop(estimate: Estimate) -> str:
    return f"{estimate.estimate:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"
