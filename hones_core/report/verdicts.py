"""What a table says, in one plain sentence a model. Every sentence is computed from the table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.figure_style import task_name
from hones_core.schemas.selectivity import OOD_GROUP_DROP, SELECTIVITY_INDEX, TEXT_ERASURE
from hones_core.schemas.tables import GROUP_DROP, MASKING_DROP, STEERING
from hones_core.tables.common import AVERAGE, ordered_tasks

MINUS = "−"


def headline(masking_drop: pd.DataFrame) -> list[str]:
    """The run's answer: does HONES find neurons that the model needs?"""
    said = []
    for model, rows in _by_model(masking_drop[masking_drop["ranker"] == "hones"]):
        average = rows[rows["task"] == AVERAGE]
        tasks = rows[rows["task"] != AVERAGE]
        text = f"{model}: silencing HONES' {_neurons(tasks)} neurons "
        if len(average):
            one = next(average.itertuples())
            text += f"costs {_percent(one, 'drop')} of the score on average, "
            text += f"{_points(one, 'excess')} more than random ones. "
        else:
            text += "was measured. "
        said.append(text + _clear(tasks, "It is clear above random in"))
    return said


def masking(table: pd.DataFrame) -> list[str]:
    """How HONES stands among the rankers, on the mean over the tasks that all of them rank."""
    said = []
    for model, rows in _by_model(table):
        whole = rows[(rows["task"] == AVERAGE) & rows["drop"].notna()]
        if whole.empty:
            continue
        order = whole.sort_values("drop", ascending=False)
        ranks = ", ".join(f"{row.ranker} {_number(row.drop)}" for row in order.itertuples())
        said.append(f"{model}, mean drop in percent over all tasks: {ranks}.")
    return said


def groups(table: pd.DataFrame) -> list[str]:
    """Whether the dominant shared groups matter."""
    said = []
    for model, rows in _by_model(table[table["dominant"]]):
        parts = [
            f"{row.group} costs {task_name(row.task)} {_percent(row, 'drop')}"
            f"{'' if row.shown else ' (not clear above random)'}"
            for row in rows.itertuples()
        ]
        said.append(f"{model}: " + "; ".join(parts) + ".")
    return said or ["No task shares a neuron with another one."]


def selectivity(table: pd.DataFrame) -> list[str]:
    """Whether a task can be suppressed without harming the others."""
    said = []
    for model, rows in _by_model(table[table["kind"] == "top"]):
        clear = [task_name(row.source_task) for row in rows.itertuples() if row.index_low > 0]
        parts = [
            f"{task_name(row.source_task)} loses {_number(row.own_drop)} %, the others "
            f"{_number(row.other_drop)} %"
            for row in rows.itertuples()
        ]
        end = f"Clearly selective: {', '.join(clear)}." if clear else "None is clearly selective."
        said.append(f"{model}, each task's own top set silenced: {'; '.join(parts)}. {end}")
    return said


def text_erasure(table: pd.DataFrame) -> list[str]:
    """Whether captioning's shared groups need visible text."""
    said = []
    shared = table[table["group"].str.contains("+", regex=False) & (table["n_neurons"] > 0)]
    for model, rows in _by_model(shared):
        parts = []
        for group, pair in rows.groupby("group", sort=False):
            found = {row.setting: row for row in pair.itertuples()}
            before, after = found["original"], found["text_erased"]
            parts.append(f"{group} {_percent(before, 'drop')} → {_percent(after, 'drop')}")
        said.append(f"{model}, drop of captioning with and without text: {'; '.join(parts)}.")
    return said or ["Captioning shares no neuron with another task."]


def ood_groups(table: pd.DataFrame) -> list[str]:
    """Where the groups found in distribution matter elsewhere."""
    said = []
    for model, rows in _by_model(table[table["n_neurons"] > 0]):
        shown = [f"{row.group} on {row.ood_set}" for row in rows.itertuples() if row.shown]
        text = ", ".join(shown) if shown else "none"
        said.append(f"{model}, {len(rows)} groups with neurons; clear above random: {text}.")
    return said


def steering(table: pd.DataFrame) -> list[str]:
    """Whether learned scales improve a score."""
    said = []
    for model, rows in _by_model(table[table["method"] == "hones"]):
        tasks = rows[rows["task"] != AVERAGE]
        parts = [f"{task_name(row.task)} {_points(row, 'gain')}" for row in tasks.itertuples()]
        better = [task_name(row.task) for row in tasks.itertuples() if row.gain_low > 0]
        end = f"Clear gains: {', '.join(better)}." if better else "No gain is clear of 0."
        said.append(f"{model}: {'; '.join(parts)}. {end}")
    return said


# {table: (what it holds, what is said of it)}
VERDICTS: dict[str, tuple[Schema, Callable[[pd.DataFrame], Sequence[str]]]] = {
    "masking_drop": (MASKING_DROP, masking),
    "group_drop": (GROUP_DROP, groups),
    "selectivity_index": (SELECTIVITY_INDEX, selectivity),
    "text_erasure": (TEXT_ERASURE, text_erasure),
    "ood_group_drop": (OOD_GROUP_DROP, ood_groups),
    "steering": (STEERING, steering),
}


def verdicts(path: Path) -> Sequence[str]:
    """What is said of the table at the path, nothing if no verdict is made of it.

    Raises ArtifactError for a table that is missing, damaged or not of its name.
    """
    if path.stem not in VERDICTS:
        return []
    schema, say = VERDICTS[path.stem]
    return say(artifacts.read(path, schema))


def _by_model(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each model, those of a task (or of a task's neurons) in task order."""
    for column in {"task", "source_task"} & set(table.columns):
        order = ordered_tasks(table[column].unique())
        table = table.sort_values(column, key=lambda names: names.map(order.index), kind="stable")
    return [(model, table[table["model"] == model]) for model in sorted(set(table["model"]))]


def _clear(tasks: pd.DataFrame, start: str) -> str:
    shown = [task_name(row.task) for row in tasks.itertuples() if row.shown]
    others = [task_name(row.task) for row in tasks.itertuples() if not row.shown]
    if not shown:
        return "It is clear above random in no task."
    return f"{start} {', '.join(shown)}" + (f", not in {', '.join(others)}." if others else ".")


def _neurons(tasks: pd.DataFrame) -> str:
    return f"top {int(tasks['n_neurons'].max()):,}"


def _percent(row: Any, name: str) -> str:
    return _estimate(row, name, " %")


def _points(row: Any, name: str) -> str:
    return _estimate(row, name, " points")


def _estimate(row: Any, name: str, unit: str) -> str:
    value, low, high = (getattr(row, f"{name}{end}") for end in ("", "_low", "_high"))
    if pd.isna(value):
        return "an undefined share"
    interval = "" if pd.isna(low) else f" [{_number(low)}, {_number(high)}]"
    return f"{_number(value)}{unit}{interval}"


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}".replace("-", MINUS)
