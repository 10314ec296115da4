"""Figures of how much rankers agree with one another, and with themselves on other samples."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hones_core.figure_style import (
    INK,
    RANKER_NAMES,
    headline,
    in_order,
    panels,
    styled,
    task_name,
)

DARK = 60  # percent, from which on the text in a cell is white


def agreement_matrix(table: pd.DataFrame, title: str = "") -> Figure:
    """Share of common top neurons of every two rankers, in percent, one panel a task.

    `table` is the RANKER_AGREEMENT artifact of one model.
    """
    tasks = in_order(table["task"].unique())
    with styled():
        figure, axes = panels(len(tasks), 2, 4.2)
        for axis, task in zip(axes, tasks, strict=True):
            _matrix(axis, table[table["task"] == task])
            axis.set_title(task_name(task))
        figure.supxlabel("% of the top neurons in common", fontsize=9.5)
        headline(figure, title)
    return figure


def _matrix(axis: Axes, rows: pd.DataFrame) -> None:
    names = list(dict.fromkeys([*rows["ranker"], *rows["other"]]))
    place = {name: index for index, name in enumerate(names)}
    values = np.full((len(names), len(names)), np.nan)
    for row in rows.itertuples():
        values[place[row.other], place[row.ranker]] = 100 * row.overlap
    values = values[1:, :-1]  # the first has nothing before it, the last nothing behind it
    axis.imshow(values, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for (line, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if value > DARK else INK
            axis.text(
                column, line, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7.5
            )
    labels = [RANKER_NAMES.get(name, name) for name in names]
    axis.set_xticks(range(len(names) - 1), labels[:-1], rotation=40, ha="right", fontsize=8)
    axis.set_yticks(range(len(names) - 1), labels[1:], fontsize=8)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
