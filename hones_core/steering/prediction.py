"""What steering does on test: to its own task, to the other tasks, and to the distribution."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
import torch

from hones_core.engine.evaluate import Evaluator, Outcome
from hones_core.engine.interventions import Intervention
from hones_core.engine.memory import run_in_halves
from hones_core.partial import Parts, fingerprint
from hones_core.predictions import PREDICTION_COLUMNS, outcomes_under, prediction_row
from hones_core.steering.bank import Bank
from hones_core.steering.examples import first_examples
from hones_core.steering.training import cached_targets, token_terms
from hones_core.tasks.instances import Instance

Steered = tuple[Bank, list[float]]
BASE = ("base", 0)
KL_INSTANCES = 64  # whose KL is measured: enough for its order of magnitude


def predict_steered(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    scales: pd.DataFrame,
    others: Mapping[str, pd.DataFrame] | None = None,
    parts: Parts | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The artifacts STEERED_PREDICTIONS and SIDE_EFFECT_PREDICTIONS of one task.

    `scales` is its STEERING_SCALES, all of whose methods are run beside the unchanged model;
    `others` are those of other tasks, whose HONES scales are tried on this one. z is multiplied by
    1 + scale at all positions; methods with the same scales are run once. KL to the unchanged model
    is measured on the first KL_INSTANCES instances and NaN for the others.
    """
    steered = {
        (method, int(seed)): Bank.of_rows(rows)
        for (method, seed), rows in scales.groupby(["method", "seed"])
    }
    foreign = {
        task: Bank.of_rows(rows[(rows["method"] == "hones") & (rows["seed"] == 0)])
        for task, rows in (others or {}).items()
    }
    runs = [None, *steered.values(), *foreign.values()]
    found = outcomes_of_runs(evaluator, instances, runs, parts)
    measured = instances[:KL_INSTANCES]
    divergence = {(*BASE, one.instance_id): 0.0 for one in measured}
    divergence |= mean_divergences(evaluator, measured, steered)
    own, side_effects = [], []
    for (method, seed), outcomes in zip([BASE, *steered], found, strict=False):
        for outcome in outcomes:
            kl = divergence.get((method, seed, outcome.instance_id), float("nan"))
            own.append({"method": method, "seed": seed, **prediction_row(outcome), "kl": kl})
    for task, outcomes in zip(foreign, found[1 + len(steered) :], strict=True):
        side_effects += [{"steered_task": task, **prediction_row(one)} for one in outcomes]
    return (
        pd.DataFrame(own),
        pd.DataFrame(side_effects, columns=["steered_task", *PREDICTION_COLUMNS]),
    )


def outcomes_of_runs(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    runs: Sequence[Steered | None],
    parts: Parts | None,
) -> list[list[Outcome]]:
    """Every run's outcomes (None: of the unchanged model); equal runs are run once."""
    labels: list[str] = []
    interventions: dict[str, Intervention | None] = {}
    for run in runs:
        if run is None or not any(run[1]):
            labels.append("base")
            interventions["base"] = None
            continue
        bank, values = run
        labels.append(fingerprint([bank.neurons, values]))
        scales = torch.tensor(values, device=evaluator.adapter.device)
        interventions[labels[-1]] = bank.intervention(scales)
    found: dict[str, list[Outcome]] = {label: [] for label in interventions}
    for label, outcome in outcomes_under(evaluator, instances, interventions, parts=parts):
        found[label].append(outcome)
    return [found[label] for label in labels]


def mean_divergences(
    evaluator: Evaluator, instances: Sequence[Instance], steered: Mapping[tuple, Steered]
) -> dict[tuple, float]:
    """{(*key, instance id): KL(unsteered ‖ steered) in nat, mean over the target's tokens}.

    The target is the instance's first, for retrieval Yes to the positive; the unsteered model and
    the states below the banks are run once.
    """
    found: dict[tuple, float] = {}
    for chunk in evaluator.prompt_chunks(instances):
        run = partial(_divergences, evaluator, steered)
        for part in run_in_halves(evaluator, chunk, run, 1):
            found |= part
    return found


@torch.inference_mode()
def _divergences(
    evaluator: Evaluator, steered: Mapping[tuple, Steered], instances: Sequence[Instance]
) -> dict[tuple, float]:
    examples = first_examples(evaluator, instances)
    lowest = min((bank for bank, _ in steered.values()), key=lambda bank: bank.neurons[0])
    cache = cached_targets(evaluator, lowest) if evaluator.engine == "fast" else None
    found = {}
    with evaluator.named(instances):
        for key, (bank, values) in steered.items():
            scales = torch.tensor(values, device=evaluator.adapter.device)
            _, kl, mask = token_terms(evaluator, bank, scales, examples, cache)
            means = (kl.double() * mask).sum(-1) / mask.sum(-1)
            for instance, mean in zip(instances, means.tolist(), strict=True):
                found[*key, instance.instance_id] = max(mean, 0.0)  # a tiny negative is rounding
    return found
