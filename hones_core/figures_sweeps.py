"""Figures of the sweeps: the drop as more heads, or more neurons, are silenced (paper's Fig. 7)."""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from hones_core.figure_style import (
    GREY,
    INK,
    RANKER_NAMES,
    TASK_COLOURS,
    headline,
    in_order,
    legend,
    outer_labels,
    panels,
    styled,
    task_name,
)

GRID: dict[str, Any] = {"color": "#e3e3e3", "linewidth": 0.6}


def head_budget_curves(table: pd.DataFrame, title: str = "") -> Figure:
    """Drop against the number of top heads mean-replaced together, one panel a task.

    `table` is the HEAD_BUDGET artifact of one model; the band is the interval, the elbow is ringed.
    """
    tasks = in_order(table["task"].unique())
    with styled():
        figure, axes = panels(len(tasks), 2, 2.4, sharex=True)
        for axis, task in zip(axes, tasks, strict=True):
            rows = table[table["task"] == task].sort_values("n_heads")
            _band(axis, rows, "n_heads", TASK_COLOURS.get(task, INK), "o")
            chosen = rows[rows["elbow"]]
            axis.plot(chosen["n_heads"], chosen["drop"], **_RING)
            _finish(axis, task)
        outer_labels(axes, 2, "heads mean-replaced", "drop in %")
        legend(figure, [Line2D([], [], **_RING)], ["elbow"])
        headline(figure, title)
    return figure


def ratio_curves(table: pd.DataFrame, title: str = "") -> Figure:
    """Drop against the share of neurons masked, one panel a task, one line a ranker.

    `table` is the RATIO_DROP artifact of one model; the bands are intervals.
    """
    tasks = in_order(table["task"].unique())
    rankers = list(dict.fromkeys(table["ranker"]))
    with styled():
        figure, axes = panels(len(tasks), 2, 2.4, sharex=True)
        for axis, task in zip(axes, tasks, strict=True):
            for ranker in rankers:
                rows = table[(table["task"] == task) & (table["ranker"] == ranker)]
                colour = GREY if ranker == "random" else TASK_COLOURS.get(task, INK)
                _band(axis, rows.sort_values("ratio"), "ratio", colour, _marker(ranker))
            axis.set_xscale("log")
            axis.set_xticks(sorted(table["ratio"].unique()))
            axis.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}"))
            axis.minorticks_off()
            _finish(axis, task)
        outer_labels(axes, 2, "% of all neurons masked", "drop in %")
        handles = [Line2D([], [], color=_key_colour(r), marker=_marker(r)) for r in rankers]
        legend(figure, handles, [RANKER_NAMES.get(ranker, ranker) for ranker in rankers])
        headline(figure, title)
    return figure


_RING: dict[str, Any] = {
    "marker": "o",
    "markersize": 11,
    "markerfacecolor": "none",
    "markeredgecolor": INK,
    "linestyle": "none",
}


def _key_colour(ranker: str) -> str:
    return GREY if ranker == "random" else INK


def _marker(ranker: str) -> str:
    return "s" if ranker == "random" else "o"


def _band(axis: Axes, rows: pd.DataFrame, x: str, colour: str, marker: str) -> None:
    axis.fill_between(
        rows[x], rows["drop_low"], rows["drop_high"], color=colour, alpha=0.18, linewidth=0
    )
    axis.plot(rows[x], rows["drop"], color=colour, marker=marker, markersize=4)


def _finish(axis: Axes, task: str) -> None:
    axis.axhline(0, color=INK, linewidth=0.6)
    axis.grid(axis="y", **GRID)
    axis.set_title(task_name(task))
