"""The selectivity matrix: rows are the tasks whose neurons are silenced, columns what is scored."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hones_core.figure_style import INK, headline, in_order, panels, styled, task_name
from hones_core.neuron_sets import SELECTIVITY_KINDS

TITLES = {"top": "Whole top set", "specific": "In no other top set", "dominant": "Dominant group"}
STRONGEST = 40  # percent; larger drops have the same colour
DARK = 0.6  # share of the strongest colour, from which on the text is white


def selectivity_matrix(table: pd.DataFrame, title: str = "") -> Figure:
    """Relative drops in percent with their intervals, one panel a kind of set.

    `table` is the SELECTIVITY artifact of one model. A cell is bold where the drop is clearly above
    that of random sets (its column `shown`); a set without neurons is said to be empty.
    """
    kinds = [kind for kind in SELECTIVITY_KINDS if kind in set(table["kind"])]
    with styled():
        figure, axes = panels(len(kinds), 3, 3.2)
        for axis, kind in zip(axes, kinds, strict=True):
            _matrix(axis, table[table["kind"] == kind], labelled=axis is axes[0])
            axis.set_title(TITLES[kind])
        figure.supxlabel("scored task: drop in %, 95 % interval", fontsize=9.5)
        figure.supylabel("task whose neurons are silenced", fontsize=9.5)
        headline(figure, title)
    return figure


def _matrix(axis: Axes, rows: pd.DataFrame, labelled: bool) -> None:
    tasks = in_order(rows["task"].unique())
    cells = {(row.source_task, row.task): row for row in rows.itertuples()}
    values = np.full((len(tasks), len(tasks)), np.nan)
    for (source, task), row in cells.items():
        values[tasks.index(source), tasks.index(task)] = row.drop
    axis.imshow(values, cmap="RdBu_r", vmin=-STRONGEST, vmax=STRONGEST, aspect="auto")
    for (source, task), row in cells.items():
        place = tasks.index(task), tasks.index(source)
        if row.n_neurons == 0:
            axis.text(*place, "empty", ha="center", va="center", fontsize=7, color=INK)
            continue
        dark = abs(row.drop) > DARK * STRONGEST
        text = f"{_whole(row.drop)}\n[{_whole(row.drop_low)}, {_whole(row.drop_high)}]"
        weight = "bold" if row.shown else "normal"
        colour = "white" if dark else INK
        axis.text(*place, text, ha="center", va="center", fontsize=7, color=colour, weight=weight)
    names = [task_name(task) for task in tasks]
    axis.set_xticks(range(len(tasks)), names, rotation=35, ha="right", fontsize=8)
    axis.set_yticks(range(len(tasks)), names if labelled else [], fontsize=8)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _whole(value: float) -> str:
    """A whole number without "-0"; a dash where it is undefined."""
    return "–" if np.isnan(value) else str(round(value))
