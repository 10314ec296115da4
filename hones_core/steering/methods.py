"""All that Table 3 compares, learned and chosen on development under one budget (METHOD 10).

Nothing here sees test: the caller gives development instances, and what is chosen (bank size, beta,
the grid's factor) is chosen by the score on them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch

from hones_core.engine.evaluate import Evaluator, Outcome
from hones_core.engine.interventions import Intervention
from hones_core.partial import Parts
from hones_core.predictions import outcomes_under
from hones_core.steering.bank import Bank, SteeringError, column_norms, random_bank
from hones_core.steering.training import Training, cached_targets, learn_scales
from hones_core.tasks.instances import Instance

QUICK_STEPS = 8  # optimiser steps with `steering.quick`
AT_LIMIT = 1e-6  # a scale this close to where it is clamped lies there
NAN = float("nan")


@dataclass(frozen=True)
class Options:
    """What is tried. `random_seeds`: one random bank each; `quick`: a few steps, for tests."""

    kl_weights: Sequence[float]
    grid_factors: Sequence[float]
    fixed_amplification: float
    random_seeds: Sequence[int]
    quick: bool = False


@dataclass(frozen=True)
class Run:
    """One method's scales: learned ones, which have a curve and a KL weight, or one factor."""

    method: str
    bank: Bank
    scales: Sequence[float]
    seed: int = 0
    factor: float = NAN
    kl_weight: float = NAN
    curve: pd.DataFrame | None = None

    def intervention(self, device: torch.device) -> Intervention | None:
        """What the run does to the model; None where all scales are 0."""
        if not any(self.scales):
            return None
        return self.bank.intervention(torch.tensor(self.scales, device=device))


@dataclass(frozen=True)
class Learned:
    """The artifacts of the learning step: STEERING_SCALES, _CURVE, _GATES and _SEARCH."""

    scales: pd.DataFrame
    curve: pd.DataFrame
    gates: pd.DataFrame
    search: pd.DataFrame


def learn_methods(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    banks: Sequence[Bank],
    training: Training,
    options: Options,
    parts: Parts | None = None,
) -> Learned:
    """Every method on one task, from its development instances.

    `banks` are the sizes to try, `options.kl_weights` the weights of the KL term; with several
    pairs, HONES has the one of the best score, of equal ones the first. All other methods steer
    its bank, or random banks of its size. Raises SteeringError as `learn_scales` and `random_bank`
    do.
    """
    if options.quick:
        banks, options = banks[:1], replace(options, kl_weights=options.kl_weights[:1])
        training = replace(training, max_steps=QUICK_STEPS)
    learner = _Learner(evaluator, instances, banks, training, parts or Parts())
    pairs = [(bank, weight) for bank in banks for weight in options.kl_weights]
    candidates = [
        learner.run("hones", bank, weight, number=number)
        for number, (bank, weight) in enumerate(pairs)
    ]
    scores = learner.scores(candidates, "sizes") if len(candidates) > 1 else []
    hones = candidates[int(np.argmax(scores))] if scores else candidates[0]
    bank, place = hones.bank, (evaluator.adapter, evaluator.task_name)
    random = [
        learner.run("random", random_bank(bank, *place, seed), hones.kl_weight, seed)
        for seed in options.random_seeds
    ]
    unregularised = learner.run("hones_nokl", bank, 0.0)
    fixed = [_factor("base", bank, 1.0), _factor("fixed_amp", bank, options.fixed_amplification)]
    grid = [_factor("grid_search", bank, factor) for factor in _nearest_first(options.grid_factors)]
    others = [*fixed, *grid, *random, unregularised, *([] if scores else candidates)]
    found = learner.scores(others, "development")
    tried = [*zip(others, found, strict=True), *zip(candidates, scores, strict=False)]
    best = grid[int(np.argmax(found[len(fixed) : len(fixed) + len(grid)]))]
    chosen = [fixed[1], best, *random, unregularised, hones]
    learned = [run for run in chosen if run.curve is not None]
    curves = [(run, run.curve) for run in learned if run.curve is not None]
    scales = pd.concat([run.bank.frame(run.method, run.scales, run.seed) for run in chosen])
    return Learned(
        scales.assign(column_norm=column_norms(evaluator.adapter, scales)),
        pd.concat([curve.assign(method=run.method, seed=run.seed) for run, curve in curves]),
        pd.DataFrame([gate_row(run, training) for run in learned]),
        search_frame(tried, [fixed[0], *chosen]),
    )


class _Learner:
    """Learning and scoring on one task's development instances; all learning shares one cache."""

    def __init__(
        self,
        evaluator: Evaluator,
        instances: Sequence[Instance],
        banks: Sequence[Bank],
        training: Training,
        parts: Parts,
    ):
        self.evaluator, self.instances = evaluator, instances
        self.training, self.parts = training, parts
        lowest = min(banks, key=lambda bank: bank.neurons[0])
        self.cache = cached_targets(evaluator, lowest) if evaluator.engine == "fast" else None

    def run(self, method: str, bank: Bank, weight: float, seed: int = 0, number: int = 0) -> Run:
        """One learning; every method sees the same examples in the same order."""
        parts = self.parts.within(f"{method}.{seed}.{number}")
        training = replace(self.training, kl_weight=weight)
        try:
            scales, curve = learn_scales(
                self.evaluator, self.instances, bank, training, self.cache, parts
            )
        except SteeringError as error:
            raise SteeringError(f"{self.evaluator.task_name}, {method}: {error}") from error
        return Run(method, bank, scales, seed, kl_weight=weight, curve=curve)

    def scores(self, runs: Sequence[Run], name: str) -> list[float]:
        """The task's score on the instances under each run, in [0, 1]; equal runs run once."""
        device = self.evaluator.adapter.device
        labels = [self._label(place, run) for place, run in enumerate(runs)]
        interventions = {
            label: run.intervention(device) for label, run in zip(labels, runs, strict=True)
        }
        outcomes: dict[str, list[Outcome]] = {label: [] for label in labels}
        for label, outcome in outcomes_under(
            self.evaluator, self.instances, interventions, parts=self.parts.within(name)
        ):
            outcomes[label].append(outcome)
        return [score_of(self.evaluator, outcomes[label]) for label in labels]

    @staticmethod
    def _label(place: int, run: Run) -> str:
        return f"run {place}" if np.isnan(run.factor) else f"factor {run.factor}"


def score_of(evaluator: Evaluator, outcomes: Sequence[Outcome]) -> float:
    """The task's score of some outcomes, in [0, 1]."""
    totals = np.sum([outcome.statistics for outcome in outcomes], axis=0)
    return float(evaluator.task.score(totals, len(outcomes)))


def gate_row(run: Run, training: Training) -> dict:
    """A learned run's row of STEERING_GATES: how far its scales have moved."""
    scales = np.asarray(run.scales)
    below, above = training.lowest_scale + AT_LIMIT, training.max_abs_scale - AT_LIMIT
    return {
        "method": run.method,
        "seed": run.seed,
        "n_neurons": len(scales),
        "n_steps": 0 if run.curve is None else len(run.curve),
        "mean_scale": scales.mean(),
        "mean_abs_scale": np.abs(scales).mean(),
        "max_abs_scale": np.abs(scales).max(),
        "n_at_limit": int(((scales <= below) | (scales >= above)).sum()),
        "n_sign_flips": int((scales < -1).sum()),
    }


def search_frame(tried: Sequence[tuple[Run, float]], chosen: Sequence[Run]) -> pd.DataFrame:
    """STEERING_SEARCH: everything that was scored on development, and which of it was chosen."""
    rows = []
    counts: dict[tuple[str, int], int] = {}
    for run, score in tried:
        place = (run.method, run.seed)
        counts[place] = counts.get(place, -1) + 1
        rows.append(
            {
                "method": run.method,
                "seed": run.seed,
                "candidate": counts[place],
                "n_neurons": len(run.bank),
                "kl_weight": run.kl_weight,
                "factor": run.factor,
                "development_score": score,
                "chosen": any(run is one for one in chosen),
            }
        )
    return pd.DataFrame(rows)


def _factor(method: str, bank: Bank, factor: float) -> Run:
    return Run(method, bank, [factor - 1] * len(bank), factor=factor)


def _nearest_first(factors: Sequence[float]) -> list[float]:
    """The least change first, so that of equal scores it is chosen."""
    return sorted(factors, key=lambda factor: (abs(factor - 1), factor))
