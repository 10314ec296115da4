"""The selectivity matrix: what silencing one task's neurons does to every task (METHOD 8)."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hones_core.neuron_sets import GROUP_ITSELF, NeuronSet
from hones_core.schemas.selectivity import SELECTIVITY, SELECTIVITY_BY_KIND, SELECTIVITY_INDEX
from hones_core.statistics import (
    NO_ESTIMATE,
    Sampled,
    Score,
    combine,
    difference,
    mean_of,
    summarize,
)
from hones_core.tables.common import (
    Bootstrap,
    Frames,
    columns_of,
    frame_of,
    models_of,
    paired_scores,
    same_instances,
    single,
    table_frame,
    tasks_of,
)
from hones_core.tables.groups import beside_random, drops_by_trial

Place = tuple[str, str]  # source task and kind of set
Drops = dict[tuple[str, Place], dict[int, Sampled]]  # (target task, place) -> trial -> drop


def selectivity(
    base: Frames,
    masked: Frames,
    sets: Mapping[str, Mapping[Place, NeuronSet]],
    dominant_groups: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Score],
    bootstrap: Bootstrap,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The tables SELECTIVITY and SELECTIVITY_INDEX of schemas.selectivity.

    `base` and `masked` are BASE_PREDICTIONS and SELECTIVITY_PREDICTIONS of each (model, task),
    `sets` what `neuron_sets.source_sets` gives for each model. Empty sets have rows of NaN. The
    index of a run of one task is NaN: there is no other task to compare with.

    Raises ValueError if a set that has neurons was not masked or was masked with another number of
    them, AlignmentError if the instances differ.
    """
    rows, indices = [], []
    for model in models_of(masked):
        chosen = dominant_groups[model].set_index("task")["group"]
        drops = _drops_of_model(base, masked, model, scores, bootstrap)
        tasks = tasks_of(masked, model)
        for (source, kind), neurons in sets[model].items():
            place: dict[str, Any] = {"model": model, "source_task": source, "kind": kind}
            place |= {"n_neurons": len(neurons)}
            for task in tasks:
                test = masked[model, task]
                _check_size(test, source, kind, len(neurons), f"{model}, {task}")
                found = drops.get((task, (source, kind)), {})
                row = place | {"task": task, "n_instances": test["instance_id"].nunique()}
                row |= {"group": chosen.get(source, "") if kind == "dominant" else ""}
                rows.append(row | beside_random(found, bootstrap.level))
            own = {task: drops.get((task, (source, kind)), {}).get(GROUP_ITSELF) for task in tasks}
            indices.append(place | _index(own, source, bootstrap.level))
    return (
        table_frame(rows, SELECTIVITY, bootstrap),
        table_frame(indices, SELECTIVITY_INDEX, bootstrap),
    )


def selectivity_by_kind(
    base: Frames,
    masked: Frames,
    parts: Mapping[str, pd.DataFrame],
    scores: Mapping[str, Score],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """The table SELECTIVITY_BY_KIND: the same drops on parts of each task's test instances.

    `parts` are, for each task, rows of instance_id, aspect and part (see `instance_parts`). A part
    on which the unchanged model scores 0 has drops of NaN.
    """
    rows = []
    for model in models_of(masked):
        for task in tasks_of(masked, model):
            whole = masked[model, task].query(f"trial == {GROUP_ITSELF}")
            unmasked = frame_of(base, model, task, "base predictions")
            for (aspect, part), members in parts[task].groupby(["aspect", "part"], sort=False):
                test = whole[whole["instance_id"].isin(members["instance_id"])]
                if test.empty:
                    continue
                here = same_instances(unmasked, test)
                score = paired_scores({"base": here}, scores[task], bootstrap, "base")["base"]
                drops = drops_by_trial(
                    here, test, scores[task], bootstrap, by=("source_task", "kind")
                )
                for (source, kind), found in drops.items():
                    sizes = test.query("source_task == @source and kind == @kind")["n_neurons"]
                    row = {"model": model, "source_task": source, "kind": kind, "task": task}
                    row |= {"aspect": aspect, "part": part, "n_instances": len(here)}
                    row |= {"n_neurons": single(sizes, "n_neurons"), "base_score": score.value}
                    drop = summarize(found[GROUP_ITSELF], bootstrap.level)
                    rows.append(row | columns_of("drop", drop))
    return table_frame(rows, SELECTIVITY_BY_KIND, bootstrap)


def _drops_of_model(
    base: Frames,
    masked: Frames,
    model: str,
    scores: Mapping[str, Score],
    bootstrap: Bootstrap,
) -> Drops:
    found: Drops = {}
    for task in tasks_of(masked, model):
        test = masked[model, task]
        if test.empty:
            continue
        unmasked = same_instances(frame_of(base, model, task, "base predictions"), test)
        drops = drops_by_trial(unmasked, test, scores[task], bootstrap, by=("source_task", "kind"))
        found |= {(task, place): trials for place, trials in drops.items()}
    return found


def _index(drops: Mapping[str, Sampled | None], source: str, level: float) -> dict:
    """The columns of own drop less mean other drop."""
    others = [drop for task, drop in drops.items() if task != source and drop is not None]
    own = drops.get(source)
    if own is None or not others:
        nan = float("nan")
        found = {"own_drop": own.value if own else nan, "other_drop": nan}
        return found | columns_of("index", NO_ESTIMATE)
    other = mean_of(others)
    index = summarize(combine(difference, other, own), level)
    return {"own_drop": own.value, "other_drop": other.value} | columns_of("index", index)


def _check_size(test: pd.DataFrame, source: str, kind: str, n_neurons: int, what: str) -> None:
    rows = test[(test["source_task"] == source) & (test["kind"] == kind)]
    found = single(rows["n_neurons"], f"{what}: n_neurons") if len(rows) else 0
    if found != n_neurons:
        raise ValueError(
            f"{what}: the {kind} set of {source} has {n_neurons} neurons, but {found} were masked"
        )
