"""Logit lens over the test set: logits lost by target, format and other tokens, layer by layer."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hones_core.figure_style import (
    GREY,
    INK,
    WIDTH,
    headline,
    in_order,
    legend,
    styled,
    task_name,
)
from hones_core.schemas.lens import KINDS, SETS

KIND_COLOURS = {"target": "#0072B2", "format": "#E69F00", "other": "#7a7a7a"}
KIND_MARKERS = {"target": "o", "format": "s", "other": "^"}
KIND_NAMES = {"target": "target tokens", "format": "format tokens", "other": "all other tokens"}
SET_NAMES = {"dominant": "dominant group", "specific": "its own group"}
WITHOUT = {"dominant": "no dominant group:\nthe task shares no neuron", "specific": "empty group"}


def group_label(group: str, n_neurons: int) -> str:
    """`V+O+C (12 neurons)`, with the tasks' initials; `(3 neurons)` of a task's own group."""
    tasks = group.split("+")
    name = "+".join(task_name(task)[0] for task in tasks) + " " if len(tasks) > 1 else ""
    return f"{name}({n_neurons:,} neuron{'' if n_neurons == 1 else 's'})"


def lens_curves(table: pd.DataFrame, title: str = "") -> Figure:
    """Mean lost logit by layer: a row for each task, its dominant group left, its own right.

    `table` is the LOGIT_LENS artifact of one model; bands are intervals. The panels of a task share
    their scale. A set without neurons is said to be empty.
    """
    tasks = in_order(table["task"].unique())
    with styled():
        figure = Figure(figsize=(WIDTH, 1.75 * len(tasks) + 0.9), layout="constrained")
        axes = figure.subplots(len(tasks), 2, sharex=True, sharey="row", squeeze=False)
        for row, task in enumerate(tasks):
            for axis, name in zip(axes[row], SETS, strict=True):
                part = table[(table["task"] == task) & (table["set"] == name)]
                _draw(axis, part, f"{task_name(task)}: {SET_NAMES[name]}", WITHOUT[name])
            axes[row, 0].set_ylabel("lost logit")
        for axis in axes[-1]:
            axis.set_xlabel("layer")
        handles = [
            Line2D([], [], color=KIND_COLOURS[kind], marker=KIND_MARKERS[kind]) for kind in KINDS
        ]
        level = f"{table['level'].iloc[0] * 100:g} % interval"
        note = f"group masked; mean over the test instances, {level}"
        legend(figure, handles, [KIND_NAMES[kind] for kind in KINDS], note)
        headline(figure, title)
    return figure


def _draw(axis: Axes, part: pd.DataFrame, name: str, without: str) -> None:
    axis.axhline(0, color=INK, linewidth=0.8, zorder=1)
    axis.grid(axis="y", color="#e3e3e3", linewidth=0.6, zorder=0)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=9))
    if part["n_neurons"].max() == 0:
        axis.set_title(name, loc="left")
        axis.text(0.5, 0.6, without, transform=axis.transAxes, ha="center", va="center", color=GREY)
        return
    first = part.iloc[0]
    axis.set_title(f"{name} {group_label(first['group'], first['n_neurons'])}", loc="left")
    for kind in reversed(KINDS):  # the target on top
        rows = part[part["kind"] == kind].sort_values("layer")
        colour = KIND_COLOURS[kind]
        axis.fill_between(
            rows["layer"], rows["lost_low"], rows["lost_high"], color=colour, alpha=0.2, linewidth=0
        )
        axis.plot(
            rows["layer"], rows["lost"], color=colour, marker=KIND_MARKERS[kind], markersize=4
        )
