"""Steering on other data sets (METHOD 10): in-domain scales, and new ones for the same bank.

A set is divided into a part for tuning and a part that is scored, several times (OOD_SPLITS).
"""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from hones_core.benchmark.ood_instances import TEST, TUNING
from hones_core.engine.evaluate import Evaluator
from hones_core.partial import Parts
from hones_core.predictions import prediction_row
from hones_core.schemas.ood import OOD_STEERED_PREDICTIONS, OOD_TUNED_SCALES
from hones_core.steering.bank import Bank, SteeringError
from hones_core.steering.methods import QUICK_STEPS
from hones_core.steering.prediction import Steered, outcomes_of_runs
from hones_core.steering.training import Training, cached_targets, learn_scales
from hones_core.tasks.instances import Instance

WHOLE_SET = -1  # in the place of a division, for what is the same in all of them
ZERO_SHOT = {"hones": "hones_zero_shot", "random": "random_zero_shot"}
TUNED = {"hones": "hones_tuned", "random": "random_tuned"}


def learn_anew(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    splits: pd.DataFrame,
    scales: pd.DataFrame,
    training: Training,
    quick: bool = False,
    parts: Parts | None = None,
) -> pd.DataFrame:
    """The OOD_TUNED_SCALES artifact: for every division, scales learned on its tuning part.

    `scales` is the STEERING_SCALES of the in-domain task, whose HONES bank and first random bank
    are kept; all scales start from 0. `splits` is the set's OOD_SPLITS. Raises SteeringError as
    `learn_scales` does, naming the set's division.
    """
    training = replace(training, max_steps=QUICK_STEPS) if quick else training
    banks = {name: _first(scales, name)[0] for name in TUNED}
    lowest = min(banks.values(), key=lambda bank: bank.neurons[0])
    cache = cached_targets(evaluator, lowest) if evaluator.engine == "fast" else None
    parts = parts or Parts()
    rows = []
    for repeat, ids in _parts(splits, TUNING).items():
        tuning = [one for one in instances if one.instance_id in ids]
        for name, bank in banks.items():
            own = parts.within(f"{name}.{repeat}")
            try:
                learned, _ = learn_scales(evaluator, tuning, bank, training, cache, own)
            except SteeringError as error:
                raise SteeringError(f"division {repeat}, {TUNED[name]}: {error}") from error
            rows.append(bank.frame(TUNED[name], learned).assign(repeat=repeat))
    return pd.concat(rows)[OOD_TUNED_SCALES.names]


def predict_ood_steered(
    evaluator: Evaluator,
    ood_set: str,
    instances: Sequence[Instance],
    splits: pd.DataFrame,
    scales: pd.DataFrame,
    tuned: pd.DataFrame,
    parts: Parts | None = None,
) -> pd.DataFrame:
    """The OOD_STEERED_PREDICTIONS artifact of one set: the unchanged model and in-domain scales on
    all of it, tuned ones on the scored part of their own division."""
    runs: dict[tuple[str, int, int], Steered | None] = {("base", 0, WHOLE_SET): None}
    for (method, seed), rows in scales.groupby(["method", "seed"]):
        if method in ZERO_SHOT:
            runs[ZERO_SHOT[method], int(seed), WHOLE_SET] = Bank.of_rows(rows)
    for (method, repeat), rows in tuned.groupby(["method", "repeat"]):
        runs[method, 0, int(repeat)] = Bank.of_rows(rows)
    scored = _parts(splits, TEST)
    found = outcomes_of_runs(evaluator, instances, list(runs.values()), parts)
    names = ("method", "seed", "repeat")
    rows = [
        {"ood_set": ood_set, **dict(zip(names, key, strict=True)), **prediction_row(one)}
        for key, outcomes in zip(runs, found, strict=True)
        for one in outcomes
        if key[-1] == WHOLE_SET or one.instance_id in scored[key[-1]]
    ]
    return pd.DataFrame(rows)[OOD_STEERED_PREDICTIONS.names]


def _first(scales: pd.DataFrame, method: str) -> Steered:
    """A method's bank and scales of its first seed."""
    own = scales[scales["method"] == method]
    if own.empty:
        raise SteeringError(f"the in-domain scales hold no method {method!r}")
    return Bank.of_rows(own[own["seed"] == own["seed"].min()])


def _parts(splits: pd.DataFrame, part: str) -> dict[int, set[str]]:
    """{division: instance ids of one part}."""
    own = splits[splits["part"] == part]
    return {int(repeat): set(rows["instance_id"]) for repeat, rows in own.groupby("repeat")}
