"""Figures of heads, layers and overlap groups, drawn from the artifacts.

Every function returns a matplotlib Figure that `figure_style.save` writes as SVG and PNG.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hones_core.figure_style import (
    EVEN,
    FEW_LAYERS,
    GREY,
    HEAD_PANEL,
    INK,
    RANDOM,
    RANKER_NAMES,
    TASK_COLOURS,
    TASK_MARKERS,
    headline,
    in_order,
    legend,
    lighter,
    outer_labels,
    panels,
    styled,
    task_name,
)


def head_heatmap(rankings: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Scores S_t(h) of all heads of one model: layers x heads, one panel a task.

    `rankings` maps a task to its HEAD_RANKING artifact. Each panel has its own colour scale,
    centred on 0 (red: the task loses without the head); selected heads are outlined.
    """
    shape = _grid_shape(rankings)
    with styled():
        height = HEAD_PANEL * shape[0] / shape[1] + 0.6  # and its title and labels
        figure, axes = panels(len(rankings), 2, height, layout="compressed")
        for axis, task in zip(axes, in_order(rankings), strict=True):
            _draw_heads(axis, rankings[task], shape)
            axis.set_title(task_name(task))
        outer_labels(axes, 2, "head", "layer")
        figure.supxlabel("outlined: the selected heads", fontsize=9.5)
        headline(figure, title)
    return figure


def layer_histogram(
    rankings: Mapping[str, pd.DataFrame], n_selected: int, n_layers: int, title: str = ""
) -> Figure:
    """Share of each ranker's top neurons in every layer: one panel a ranker, one line a task.

    `rankings` maps a task to its NEURON_RANKING artifact, of which the first `n_selected` neurons
    of every order are enough; that is the size of the top set. A ranker with several seeds is shown
    by their mean. The dashed line is an even spread over the model's `n_layers`.
    """
    named = (name for frame in rankings.values() for name in frame["ranker"].unique())
    rankers = sorted(dict.fromkeys(named), key=lambda name: (name != "hones", name == "random"))
    with styled():
        figure, axes = panels(len(rankers), min(3, len(rankers)), 2.5, sharex=True, sharey=True)
        for axis, ranker in zip(axes, rankers, strict=True):
            axis.axhline(100 / n_layers, **EVEN, zorder=4)
            shares = {
                task: _layer_shares(rankings[task], ranker, n_selected, n_layers)
                for task in in_order(rankings)
            }
            (_layer_bars if n_layers <= FEW_LAYERS else _layer_lines)(axis, shares)
            axis.set_title(RANKER_NAMES.get(ranker, ranker))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axis.grid(axis="y", color="#e3e3e3", linewidth=0.6)
        axes[0].set_ylim(bottom=0)  # of all panels: they share it
        outer_labels(axes, min(3, len(rankers)), "layer", f"% of top {n_selected:,} neurons")
        handles, labels = axes[0].get_legend_handles_labels()
        legend(figure, [*handles, Line2D([], [], **EVEN)], [*labels, "even spread"])
        headline(figure, title)
    return figure


def group_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Drop of each task with each overlap group masked, beside random sets of the same size.

    `table` is the GROUP_DROP artifact of one model. Bars are sorted by drop and carry the interval;
    the random control's carry the standard deviation over its trials. Groups without neurons are
    written out as empty, at the foot.
    """
    tasks = in_order(table["task"].unique())
    rows = max(int((table["task"] == task).sum()) for task in tasks)
    with styled():
        figure, axes = panels(len(tasks), columns=2, panel_height=0.75 + 0.36 * rows)
        for axis, task in zip(axes, tasks, strict=True):
            _draw_groups(axis, table[table["task"] == task], TASK_COLOURS.get(task, INK))
            axis.set_title(task_name(task))
        outer_labels(axes, 2, "relative drop (%)", "")
        coloured = tuple(Patch(color=TASK_COLOURS.get(task, INK)) for task in tasks)
        handles = [coloured, Patch(color=RANDOM)]
        interval = f"{table['level'].iloc[0] * 100:g} % interval"
        labels = [f"overlap group masked, {interval}", "random sets of its size, mean ± sd"]
        initials = ", ".join(f"{_initial(task)} {task_name(task)}" for task in tasks)
        legend(figure, handles, labels, f"{initials}; (neurons of the group); bold: dominant group")
        headline(figure, title)
    return figure


def _draw_heads(axis: Axes, ranking: pd.DataFrame, shape: tuple[int, int]) -> None:
    scores = np.full(shape, np.nan)
    scores[ranking["layer"], ranking["head"]] = ranking["score"]
    bound = float(np.nanmax(np.abs(scores))) or 1.0  # all zero: an even white panel
    image = axis.imshow(
        scores, cmap="RdBu_r", vmin=-bound, vmax=bound, origin="lower", aspect="equal"
    )
    chosen = ranking[ranking["selected"]]
    edges = [
        edge
        for layer, head in zip(chosen["layer"], chosen["head"], strict=True)
        for edge in _cell_edges(layer, head)
    ]
    width = float(np.clip(40 / max(shape), 0.9, 2.0))
    outlines = LineCollection(edges, colors="black", linewidths=width, clip_on=False, zorder=5)
    axis.add_collection(outlines)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axis.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    for spine in axis.spines.values():
        spine.set(visible=True, color="#bbbbbb")
    bar = axis.figure.colorbar(image, cax=axis.inset_axes((1.03, 0, 0.04, 1)))
    bar.outline.set_visible(False)
    bar.locator = MaxNLocator(6, symmetric=True)
    bar.set_label("utility lost, S(h)")


def _cell_edges(layer: int, head: int) -> list[list[tuple[float, float]]]:
    left, right, low, high = head - 0.5, head + 0.5, layer - 0.5, layer + 0.5
    return [[(left, low), (right, low), (right, high), (left, high), (left, low)]]


def _layer_shares(ranking: pd.DataFrame, ranker: str, n_selected: int, n_layers: int) -> np.ndarray:
    """Percent of the top neurons in each layer, all seeds together; NaN without the ranker."""
    top = ranking[(ranking["ranker"] == ranker) & (ranking["rank"] < n_selected)]
    if top.empty:
        return np.full(n_layers, np.nan)
    return np.bincount(top["layer"], minlength=n_layers) / len(top) * 100


def _layer_bars(axis: Axes, shares: Mapping[str, np.ndarray]) -> None:
    width = 0.8 / len(shares)
    for place, (task, values) in enumerate(shares.items()):
        middle = np.arange(len(values)) + (place - (len(shares) - 1) / 2) * width
        colour = TASK_COLOURS.get(task, INK)
        axis.bar(middle, values, width, color=colour, label=task_name(task), zorder=3)


def _layer_lines(axis: Axes, shares: Mapping[str, np.ndarray]) -> None:
    for task, values in shares.items():
        colour, marker = TASK_COLOURS.get(task, INK), TASK_MARKERS.get(task, "o")
        axis.plot(
            values, color=colour, marker=marker, markersize=3, label=task_name(task), zorder=3
        )


def _draw_groups(axis: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Horizontal bars, the largest drop on top; undefined drops at the foot."""
    rows = rows.sort_values("drop", ascending=True, na_position="first", kind="stable")
    for place, (_, row) in enumerate(rows.iterrows()):
        if row["n_neurons"] == 0 or np.isnan(row["drop"]):
            word = "empty" if row["n_neurons"] == 0 else "undefined"
            axis.annotate(
                word, (0, place), (4, 0), textcoords="offset points", va="center", color=GREY
            )
            continue
        face = colour if row["dominant"] else lighter(colour)
        axis.barh(place + 0.17, row["drop"], 0.42, color=face, zorder=2)
        _whisker(axis, place + 0.17, row["drop_low"], row["drop_high"])
        if row["n_trials"]:
            axis.barh(place - 0.22, row["random_mean"], 0.28, color=RANDOM, zorder=2)
            sd = row["random_sd"]
            _whisker(axis, place - 0.22, row["random_mean"] - sd, row["random_mean"] + sd)
    labels = [_group_label(row) for _, row in rows.iterrows()]
    axis.set_yticks(range(len(rows)), labels)
    for label, (_, row) in zip(axis.get_yticklabels(), rows.iterrows(), strict=True):
        label.set_fontweight("bold" if row["dominant"] else "normal")
    axis.set_ylim(-0.6, len(rows) - 0.4)
    axis.axvline(0, color=INK, linewidth=0.8, zorder=4)
    axis.tick_params(axis="y", length=0)
    axis.grid(axis="x", color="#e3e3e3", linewidth=0.6, zorder=0)
    axis.spines["left"].set_visible(False)


def _whisker(axis: Axes, place: float, low: float, high: float) -> None:
    if not np.isnan(low):
        axis.plot([low, high], [place, place], color=INK, linewidth=1, zorder=3)


def _group_label(row: pd.Series) -> str:
    """`V+O+C (12)`, with the tasks' initials: whole names would take half of the panel."""
    tasks = row["group"].split("+")
    name = task_name(tasks[0]) + " only" if len(tasks) == 1 else "+".join(map(_initial, tasks))
    return f"{name} ({int(row['n_neurons']):,})"


def _initial(task: str) -> str:
    return task_name(task)[0].upper()


def _grid_shape(rankings: Mapping[str, pd.DataFrame]) -> tuple[int, int]:
    layers = max(int(frame["layer"].max()) for frame in rankings.values())
    heads = max(int(frame["head"].max()) for frame in rankings.values())
    return layers + 1, heads + 1
