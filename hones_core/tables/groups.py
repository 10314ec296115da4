"""Masking the overlap groups: relative drops beside random sets of the same size (Table 10)."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hones_core.neuron_sets import GROUP_ITSELF, groups_with
from hones_core.schemas.tables import GROUP_DROP
from hones_core.statistics import (
    NO_ESTIMATE,
    Sampled,
    Score,
    combine,
    difference,
    mean_of,
    relative_drop,
    spread,
    summarize,
)
from hones_core.tables.common import (
    Bootstrap,
    Frames,
    PaperFigures,
    columns_of,
    frame_of,
    models_of,
    paired_scores,
    same_instances,
    single,
    table_frame,
    tasks_of,
)


def group_drop(
    base: Frames,
    masked: Frames,
    overlap_groups: Mapping[str, pd.DataFrame],
    dominant_groups: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Drops in percent on test of each group, in the columns of schemas.tables.GROUP_DROP.

    `base` and `masked` are BASE_PREDICTIONS and GROUP_PREDICTIONS of each (model, task), of which
    the split "test" is used; `overlap_groups` and `dominant_groups` are those artifacts of each
    model. A task has a row for each of the groups that contain it, empty ones included; other
    groups in `masked` are left to the selectivity matrix. `paper` is caption_text_erasure.csv, the
    only file with in-domain group drops (its setting "original").

    Raises ValueError if a group that has neurons was not masked or was masked with another number
    of them, AlignmentError if the instances differ.
    """
    figures = PaperFigures(
        caption_drops(paper, "original"), "group", "drop", compare_with, names=None
    )
    rows = []
    for model in models_of(masked):
        tasks = tasks_of(masked, model)
        sizes = overlap_groups[model].groupby("group").size()
        chosen = dominant_groups[model].set_index("task")["group"]
        for task in tasks:
            test = masked[model, task].query("split == 'test'")
            whole = frame_of(base, model, task, "base predictions")
            drops = drops_by_trial(same_instances(whole, test), test, scores[task], bootstrap)
            for group in groups_with(task, tasks):
                what = f"group {group} of {model}, {task}"
                n_neurons = int(sizes.get(group, 0))
                check_size(test, group, n_neurons, what)
                row: dict[str, Any] = {"model": model, "task": task, "group": group}
                row |= {"n_tasks": group.count("+") + 1, "n_neurons": n_neurons}
                row |= {"n_instances": test["instance_id"].nunique()}
                row |= beside_random(drops.get(group, {}), bootstrap.level)
                row |= {"dominant": chosen.get(task, "") == group}
                row |= {"paper_model": figures.model(model)}
                rows.append(row | {"paper_drop": figures.figure(model, group, task)})
    return table_frame(rows, GROUP_DROP, bootstrap)


def drops_by_trial(
    base: pd.DataFrame,
    test: pd.DataFrame,
    score: Score,
    bootstrap: Bootstrap,
    by: Sequence[str] = ("group",),
) -> dict[Any, dict[int, Sampled]]:
    """The sampled relative drops of predictions `test`: set -> trial -> drop.

    A set is known by the columns `by`: its value, or a tuple of several.
    """
    if test.empty:
        return {}
    base_key = ("base",)
    systems = {base_key: base, **dict(iter(test.groupby([*by, "trial"])))}
    sampled = paired_scores(systems, score, bootstrap, "predictions with masked sets")
    unmasked = sampled.pop(base_key)
    drops: dict[Any, dict[int, Sampled]] = {}
    for (*name, trial), masked in sampled.items():
        key = name[0] if len(by) == 1 else tuple(name)
        drops.setdefault(key, {})[trial] = combine(relative_drop, unmasked, masked)
    return drops


def beside_random(trials: dict[int, Sampled], level: float) -> dict:
    """The columns of one set's drop, of its random controls and of the difference of the two."""
    controls = [drop for trial, drop in trials.items() if trial != GROUP_ITSELF]
    drop = excess = NO_ESTIMATE
    mean, spreads = float("nan"), (float("nan"),) * 3
    if GROUP_ITSELF in trials:
        drop = summarize(trials[GROUP_ITSELF], level)
    if controls:
        control = mean_of(controls)
        mean, spreads = control.value, spread([trial.value for trial in controls])
        excess = summarize(combine(difference, control, trials[GROUP_ITSELF]), level)
    sd, least, most = spreads
    return {
        **columns_of("drop", drop),
        "n_trials": len(controls),
        "random_mean": mean,
        "random_sd": sd,
        "random_min": least,
        "random_max": most,
        **columns_of("excess", excess),
        "shown": excess.low > 0,
    }


def check_size(test: pd.DataFrame, group: str, n_neurons: int, what: str) -> None:
    """Check that the group and its random sets were masked with as many neurons as it has."""
    rows = test[test["group"] == group]
    if n_neurons and GROUP_ITSELF not in rows["trial"].to_numpy():
        raise ValueError(f"{what}: has {n_neurons} neurons, but no test predictions with it masked")
    found = single(rows["n_neurons"], f"{what}: n_neurons") if len(rows) else 0
    if found != n_neurons:
        raise ValueError(f"{what}: has {n_neurons} neurons, but {found} were masked")


def caption_drops(paper: pd.DataFrame | None, setting: str) -> pd.DataFrame | None:
    """The rows of caption_text_erasure.csv of a setting, as PaperFigures looks them up."""
    if paper is None:
        return None
    rows = paper[paper["setting"] == setting]
    return rows.assign(task="caption", drop=rows["caption_drop_percent"])
