"""Which test instances the logit lens shows as examples, and what the model answers to them."""

from collections.abc import Mapping, Sequence

import pandas as pd

from hones_core.benchmark.seeding import seeded_order
from hones_core.neuron_sets import GROUP_ITSELF, NeuronSet
from hones_core.schemas.lens import LOGIT_LENS_SAMPLES
from hones_core.tasks import get_task
from hones_core.tasks.instances import Instance

SetsOfTask = Mapping[str, tuple[str, NeuronSet]]  # of neuron_sets.salient_sets


def representative(
    base: pd.DataFrame, masked: pd.DataFrame, sets: SetsOfTask, count: int
) -> list[str]:
    """Ids of the `count` test instances that stand for a task.

    Those whose answer loses most utility with the dominant group masked (without one: with the
    task's own group), of these the ones that the unchanged model answers best, of these the first
    of a fixed random order. `base` and `masked` are BASE_PREDICTIONS and GROUP_PREDICTIONS.
    """
    order = seeded_order(base["instance_id"].tolist(), 0, "logit lens")
    utility = base.set_index("instance_id")["utility"].loc[order]
    shown = next((group for group, neurons in sets.values() if neurons), None)
    lost = 0.0 * utility
    if shown is not None:
        lost = utility - _utility(masked, shown).loc[order]
    ranked = pd.DataFrame({"lost": lost, "utility": utility})
    best = ranked.sort_values(["lost", "utility"], ascending=False, kind="stable")
    return best.index[:count].tolist()


def lens_samples(
    task: str,
    family: str,
    instances: Sequence[Instance],
    base: pd.DataFrame,
    masked: pd.DataFrame,
    sets: SetsOfTask,
    chosen: Sequence[str] | None,
    count: int,
) -> pd.DataFrame:
    """The rows of LOGIT_LENS_SAMPLES of one task: the `chosen` instances, or `count` found ones.

    Raises ValueError that names a chosen instance which is not on the test split.
    """
    test = {instance.instance_id: instance for instance in instances if instance.split == "test"}
    base = base[base["instance_id"].isin(test)]
    ids = representative(base, masked, sets, count) if chosen is None else list(chosen)
    unknown = [one for one in ids if one not in test]
    if unknown:
        example = next(iter(test), "none")
        raise ValueError(
            f"logit_lens.samples: {unknown[0]!r} is no test instance of {task}, such as {example!r}"
        )
    answers = base.set_index("instance_id")
    rows = []
    for sample, instance_id in enumerate(ids):
        for name, (group, neurons) in sets.items():
            changed = _answers(masked, group) if neurons else answers
            rows.append(
                {
                    "task": task,
                    "sample": sample,
                    "set": name,
                    "group": group,
                    "n_neurons": len(neurons),
                    "instance_id": instance_id,
                    **_question(task, family, test[instance_id]),
                    "base_answer": answers.loc[instance_id, "prediction"],
                    "base_utility": answers.loc[instance_id, "utility"],
                    "masked_answer": changed.loc[instance_id, "prediction"],
                    "masked_utility": changed.loc[instance_id, "utility"],
                }
            )
    return pd.DataFrame(rows, columns=LOGIT_LENS_SAMPLES.names)


def _question(task: str, family: str, instance: Instance) -> dict[str, str]:
    module = get_task(task)
    return {
        "image": instance.image,
        "prompt": module.instruction(family, instance, instance.positive_candidate),
        "target": module.targets(instance)[0],
    }


def _answers(masked: pd.DataFrame, group: str) -> pd.DataFrame:
    """The rows with the group itself masked, by instance."""
    rows = masked[(masked["group"] == group) & (masked["trial"] == GROUP_ITSELF)]
    if rows.empty:
        raise ValueError(f"there are no predictions with the group {group!r} masked")
    return rows.set_index("instance_id")


def _utility(masked: pd.DataFrame, group: str) -> pd.Series:
    return _answers(masked, group)["utility"]
