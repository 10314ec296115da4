"""The figure of the planted circuits: where each ranker breaks."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from hones_core.figure_style import RANKER_NAMES, WIDTH, styled

TITLES = {  # the panels, row by row
    "polysemantic": "polysemantic",
    "aligned": "aligned, fed by the prompt",
    "cancelled": "cancelled later on",
    "silent": "silent",
    "background": "background",
    "all": "the four kinds together",
}
COLUMNS = 3
COLOURS = mpl.colormaps["RdBu"]  # blue: planted neurons come first; white: chance; red: last
ROW_HEIGHT = 0.27  # inches, of one ranker
DARK_CELL = 0.35  # distance from chance beyond which a number is white on its cell


def recovery_heatmap(table: pd.DataFrame) -> Figure:
    """AUROC of planted neurons against one kind of others alone, by ranker and strength.

    `table` is the PLANTED_STRENGTHS artifact; models and tasks are averaged. One panel a kind; a
    ranker that applies to some tasks only is shown by these.
    """
    rankers = _in_order(table["ranker"].unique())
    lines = len(TITLES) // COLUMNS
    height = lines * (ROW_HEIGHT * len(rankers) + 0.6) + 0.5
    with styled():
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(lines, COLUMNS, sharex=True, sharey=True)
        for axis, (kind, title) in zip(axes.ravel(), TITLES.items(), strict=True):
            rows = table[table["distractor"] == kind]
            grid = rows.pivot_table(index="ranker", columns="strength", values="auroc_alone")
            _draw(axis, grid.reindex(rankers))
            axis.set_title(title)
        axes[-1, COLUMNS // 2].set_xlabel("write-out of the distractors, times a planted neuron's")
        scale = ScalarMappable(Normalize(0, 1), COLOURS)
        bar = figure.colorbar(scale, ax=axes, aspect=40)
        bar.outline.set_visible(False)
        bar.set_label("AUROC of planted neurons")
    return figure


def _draw(axis: Axes, grid: pd.DataFrame) -> None:
    values = grid.to_numpy()
    axis.imshow(values, cmap=COLOURS, vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if not np.isnan(value):
            colour = "white" if abs(value - 0.5) > DARK_CELL else "black"
            axis.text(
                column, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour
            )
    axis.set_xticks(range(len(grid.columns)), [f"{strength:g}" for strength in grid.columns])
    axis.set_yticks(range(len(grid)), [RANKER_NAMES.get(name, name) for name in grid.index])
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)


def _in_order(rankers: np.ndarray) -> list[str]:
    """HONES first, random last, the others as they come."""
    return sorted(rankers, key=lambda name: (name != "hones", name == "random"))
