"""How the tasks' top neurons overlap, as an UpSet plot (paper's Fig. 8)."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hones_core.figure_style import (
    GREY,
    INK,
    TASK_COLOURS,
    WIDTH,
    headline,
    in_order,
    styled,
    task_name,
)
from hones_core.neuron_sets import group_names

FEWEST = 7  # columns that there is room for: those of one task alone would be as wide as the page
ABSENT = "#dddddd"
SHARED = "#4d4d4d"
SHADES = ("#f4f4f4", "#ffffff")


def group_sizes(groups: pd.DataFrame, tasks: Sequence[str], title: str = "") -> Figure:
    """Bars of the groups' sizes over a matrix of which tasks each belongs to.

    `groups` is the OVERLAP_GROUPS artifact of one model. Groups of fewer tasks come first, always
    in the same order, so that two models can be compared; a group without neurons is a hollow
    column with its 0. On the left the size of each task's own top set.
    """
    tasks = in_order(tasks)
    names = group_names(tasks)
    counts = groups.groupby("group").size().reindex(names, fill_value=0)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4 + 0.3 * len(tasks)), layout="constrained")
        axes = figure.subplots(
            2, 2, width_ratios=(1.5, 7), height_ratios=(2.6, 0.3 * len(tasks)), sharex="col"
        )
        axes[0, 0].remove()
        _draw_sizes(axes[0, 1], counts)
        _draw_matrix(axes[1, 1], counts, tasks)
        totals = {
            task: int(sum(counts[name] for name in names if task in name.split("+")))
            for task in tasks
        }
        _draw_totals(axes[1, 0], totals)
        headline(figure, title)
    return figure


def _draw_sizes(axis: Axes, counts: pd.Series) -> None:
    colours = [_colour(name) for name in counts.index]
    axis.bar(range(len(counts)), counts, 0.68, color=colours, zorder=2)
    for place, count in enumerate(counts):
        axis.annotate(
            f"{count:,}" if count else "empty",
            (place, count),
            (0, 3),
            textcoords="offset points",
            ha="center",
            va="bottom",
            color=INK if count else GREY,
            fontsize=10 if count else 8,
            rotation=0 if count else 90,
        )
    axis.set_ylabel("neurons of exactly\nthese tasks")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axis.set_ylim(0, max(1, counts.max()) * 1.12)
    axis.grid(axis="y", color="#e3e3e3", linewidth=0.6, zorder=0)
    axis.tick_params(axis="x", length=0, labelbottom=False)
    sizes = [name.count("+") + 1 for name in counts.index]
    for place in range(1, len(sizes)):
        if sizes[place] != sizes[place - 1]:
            axis.axvline(place - 0.5, color=ABSENT, linewidth=0.8, zorder=1)


def _draw_matrix(axis: Axes, counts: pd.Series, tasks: list[str]) -> None:
    for row in range(len(tasks)):
        axis.axhspan(row - 0.5, row + 0.5, color=SHADES[row % 2], zorder=0)
    for place, (name, count) in enumerate(counts.items()):
        inside = [row for row, task in enumerate(tasks) if task in name.split("+")]
        outside = [row for row in range(len(tasks)) if row not in inside]
        axis.scatter([place] * len(outside), outside, 34, color=ABSENT, zorder=2)
        colour = _colour(name) if count else GREY
        if len(inside) > 1:
            axis.plot([place] * 2, [inside[0], inside[-1]], color=colour, linewidth=2, zorder=2)
        face = colour if count else "white"
        edge: dict[str, Any] = {"edgecolors": colour, "linewidths": 1.4}
        axis.scatter([place] * len(inside), inside, 46, color=face, zorder=3, **edge)
    axis.set_ylim(len(tasks) - 0.5, -0.5)
    axis.set_xlim(-0.6, max(len(counts), FEWEST) - 0.4)
    axis.set_yticks([])
    axis.tick_params(length=0, labelbottom=False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _draw_totals(axis: Axes, totals: dict[str, int]) -> None:
    """Bars that grow to the left, towards them the tasks' names."""
    for row, (task, total) in enumerate(totals.items()):
        axis.barh(row, total, 0.6, color=TASK_COLOURS.get(task, INK))
        axis.annotate(
            f"{total:,}", (total, row), (-3, 0), textcoords="offset points", ha="right", va="center"
        )
    axis.set_ylim(len(totals) - 0.5, -0.5)
    axis.set_xlim(max(1, *totals.values()) * 1.6, 0)
    axis.set_yticks(range(len(totals)), [task_name(task) for task in totals])
    axis.yaxis.tick_right()
    axis.tick_params(length=0, labelbottom=False)
    axis.set_xlabel("top set", labelpad=2)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _colour(name: str) -> str:
    """A task's own colour for its own group, one dark grey for all shared groups."""
    return SHARED if "+" in name else TASK_COLOURS.get(name, INK)
