"""What steering does on test: to its own task, to the other tasks, and to the distribution."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd
import torch

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import Intervention
from hones_core.engine.memory import run_in_halves
from hones_core.masking import PREDICTION_COLUMNS, outcomes_under, prediction_row
from hones_core.partial import Parts
from hones_core.steering.bank import Bank
from hones_core.steering.examples import first_examples
from hones_core.steering.training import cached_targets, token_terms
from hones_core.tasks.instances import Instance

Steered = tuple[Bank, list[float]]
BASE = ("base", 0)


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
    1 + scale at all positions.
    """
    steered = {
        (method, int(seed)): Bank.of_rows(rows)
        for (method, seed), rows in scales.groupby(["method", "seed"])
    }
    foreign = {
        task: Bank.of_rows(rows[(rows["method"] == "hones") & (rows["seed"] == 0)])
        for task, rows in (others or {}).items()
    }
    device = evaluator.adapter.device
    interventions: dict[tuple, Intervention | None] = {("own", *BASE): None}
    for kind, banks in (("own", steered), ("other", foreign)):
        for key, (bank, values) in banks.items():
            label = (kind, *key) if kind == "own" else (kind, key)
            interventions[label] = bank.intervention(torch.tensor(values, device=device))
    divergence = mean_divergences(evaluator, instances, steered)
    own, side_effects = [], []
    for (kind, *key), outcome in outcomes_under(evaluator, instances, interventions, parts=parts):
        row = prediction_row(outcome)
        if kind == "own":
            method, seed = key
            kl = divergence.get((method, seed, outcome.instance_id), 0.0)
            own.append({"method": method, "seed": seed, **row, "kl": kl})
        else:
            side_effects.append({"steered_task": key[0], **row})
    return (
        pd.DataFrame(own),
        pd.DataFrame(side_effects, columns=["steered_task", *PREDICTION_COLUMNS]),
    )


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
