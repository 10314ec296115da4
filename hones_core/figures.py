"""Figures of heads, layers and overlap groups, drawn from the artifacts.

Every function returns a matplotlib Figure that `save` writes as SVG and PNG. Equal input gives
equal bytes under the same matplotlib. Sizes are for a README column of about 900 pixels: a figure
is 9 inches wide, so that a 10 point label is 14 pixels high there.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from hones_core.atomic import written_atomically

WIDTH = 9.0  # inches
HEAD_PANEL = 3.2  # inches, width of a heat map without its colour bar
FEW_LAYERS = 8  # up to here bars, which do not hide each other; beyond, lines
DPI = 200
GREY = "#8c8c8c"
INK = "#222222"
RANDOM = "#d0d0d0"  # bars of random sets
EVEN = {"color": "#555555", "linewidth": 1, "linestyle": (0, (4, 3))}

# Okabe and Ito's palette, told apart with every common colour vision.
TASK_COLOURS = {"vqa": "#0072B2", "ocr": "#D55E00", "caption": "#009E73", "retrieval": "#CC79A7"}
TASK_MARKERS = {"vqa": "o", "ocr": "s", "caption": "^", "retrieval": "D"}
TASK_NAMES = {"vqa": "VQA", "ocr": "OCR", "caption": "Captioning", "retrieval": "Retrieval"}
RANKER_NAMES = {
    "hones": "HONES",
    "no_head": "HONES-NoHead",
    "rand_head": "HONES-RandHead",
    "gaussian": "HONES-Gaussian",
    "random": "random",
    "ap": "AP",
    "ma": "MA",
    "ape": "APE",
    "mmneuron": "MMNeuron",
    "dla": "DLA",
    "group_patching": "Group Patching",
    "qrnca": "QRNCA",
    "llm_knowledge": "LLM-Knowledge",
}

STYLE = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.labelsize": 10,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9.5,
    "legend.title_fontsize": 9.5,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "hones",  # element ids that do not change from run to run
}


def head_heatmap(rankings: Mapping[str, pd.DataFrame], title: str = "") -> Figure:
    """Scores S_t(h) of all heads of one model: layers x heads, one panel a task.

    `rankings` maps a task to its HEAD_RANKING artifact. Each panel has its own colour scale,
    centred on 0 (red: the task loses without the head); selected heads are outlined.
    """
    shape = _grid_shape(rankings)
    with _styled():
        height = HEAD_PANEL * shape[0] / shape[1] + 0.6  # and its title and labels
        figure, axes = _panels(len(rankings), 2, height, layout="compressed")
        for axis, task in zip(axes, _in_order(rankings), strict=True):
            _draw_heads(axis, rankings[task], shape)
            axis.set_title(_task_name(task))
        _outer_labels(axes, 2, "head", "layer")
        figure.supxlabel("outlined: the selected heads", fontsize=9.5)
        _title(figure, title)
    return figure


def layer_histogram(
    rankings: Mapping[str, pd.DataFrame], n_selected: int, title: str = ""
) -> Figure:
    """Share of each ranker's top neurons in every layer: one panel a ranker, one line a task.

    `rankings` maps a task to its NEURON_RANKING artifact, `n_selected` is the size of the top set.
    A ranker with several seeds is shown by their mean. The dashed line is an even spread.
    """
    rankers = list(dict.fromkeys(name for frame in rankings.values() for name in frame["ranker"]))
    rankers.sort(key=lambda name: (name != "hones", name == "random"))
    n_layers = 1 + max(int(frame["layer"].max()) for frame in rankings.values())
    with _styled():
        figure, axes = _panels(len(rankers), min(3, len(rankers)), 2.5, sharex=True, sharey=True)
        for axis, ranker in zip(axes, rankers, strict=True):
            axis.axhline(100 / n_layers, **EVEN, zorder=4)
            shares = {
                task: _layer_shares(rankings[task], ranker, n_selected, n_layers)
                for task in _in_order(rankings)
            }
            (_layer_bars if n_layers <= FEW_LAYERS else _layer_lines)(axis, shares)
            axis.set_title(RANKER_NAMES.get(ranker, ranker))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
            axis.grid(axis="y", color="#e3e3e3", linewidth=0.6)
        axes[0].set_ylim(bottom=0)  # of all panels: they share it
        _outer_labels(axes, min(3, len(rankers)), "layer", f"% of top {n_selected:,} neurons")
        handles, labels = axes[0].get_legend_handles_labels()
        _legend(figure, [*handles, Line2D([], [], **EVEN)], [*labels, "even spread"])
        _title(figure, title)
    return figure


def group_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Drop of each task with each overlap group masked, beside random sets of the same size.

    `table` is the GROUP_DROP artifact of one model. Bars are sorted by drop and carry the interval;
    the random control's carry the standard deviation over its trials. Groups without neurons are
    written out as empty, at the foot.
    """
    tasks = _in_order(table["task"].unique())
    rows = max(int((table["task"] == task).sum()) for task in tasks)
    with _styled():
        figure, axes = _panels(len(tasks), columns=2, panel_height=0.75 + 0.36 * rows)
        for axis, task in zip(axes, tasks, strict=True):
            _draw_groups(axis, table[table["task"] == task], TASK_COLOURS.get(task, INK))
            axis.set_title(_task_name(task))
        _outer_labels(axes, 2, "relative drop (%)", "")
        coloured = tuple(Patch(color=TASK_COLOURS.get(task, INK)) for task in tasks)
        handles = [coloured, Patch(color=RANDOM)]
        interval = f"{table['level'].iloc[0] * 100:g} % interval"
        labels = [f"overlap group masked, {interval}", "random sets of its size, mean ± sd"]
        initials = ", ".join(f"{_initial(task)} {_task_name(task)}" for task in tasks)
        _legend(
            figure, handles, labels, f"{initials}; (neurons of the group); bold: dominant group"
        )
        _title(figure, title)
    return figure


def save(figure: Figure, stem: str | Path) -> None:
    """Write the figure as `stem`.svg and `stem`.png, each to a temporary name and then renamed."""
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        with written_atomically(f"{stem}{suffix}") as temporary, _styled():
            figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)


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
    bar = axis.figure.colorbar(image, cax=axis.inset_axes([1.03, 0, 0.04, 1]))
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
        axis.bar(middle, values, width, color=colour, label=_task_name(task), zorder=3)


def _layer_lines(axis: Axes, shares: Mapping[str, np.ndarray]) -> None:
    for task, values in shares.items():
        colour, marker = TASK_COLOURS.get(task, INK), TASK_MARKERS.get(task, "o")
        axis.plot(
            values, color=colour, marker=marker, markersize=3, label=_task_name(task), zorder=3
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
        face = colour if row["dominant"] else _lighter(colour)
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
    name = _task_name(tasks[0]) + " only" if len(tasks) == 1 else "+".join(map(_initial, tasks))
    return f"{name} ({int(row['n_neurons']):,})"


def _initial(task: str) -> str:
    return _task_name(task)[0].upper()


def _in_order(tasks: Iterable[str]) -> list[str]:
    """Known tasks in task order, then the others as they come."""
    tasks = list(tasks)
    return [task for task in TASK_NAMES if task in tasks] + [
        task for task in tasks if task not in TASK_NAMES
    ]


def _task_name(task: str) -> str:
    return TASK_NAMES.get(task, task)


def _lighter(colour: str) -> tuple[float, ...]:
    rgb = np.array(mpl.colors.to_rgb(colour))
    return tuple(rgb + (1 - rgb) * 0.45)


def _grid_shape(rankings: Mapping[str, pd.DataFrame]) -> tuple[int, int]:
    layers = max(int(frame["layer"].max()) for frame in rankings.values())
    heads = max(int(frame["head"].max()) for frame in rankings.values())
    return layers + 1, heads + 1


def _panels(
    count: int, columns: int, panel_height: float, layout: str = "constrained", **share: bool
) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels in rows of `columns`, without the surplus of the last row."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(WIDTH, panel_height * rows + 0.6), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, **share).ravel()
    for surplus in axes[count:]:
        surplus.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.tick_params(labelbottom=True)  # also above a gap in the last row
    return figure, list(axes[:count])


def _outer_labels(axes: list[Axes], columns: int, x: str, y: str) -> None:
    for place, axis in enumerate(axes):
        if place >= len(axes) - columns:
            axis.set_xlabel(x)
        if place % columns == 0:
            axis.set_ylabel(y)


def _legend(figure: Figure, handles: list, labels: list[str], title: str | None = None) -> None:
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside lower center",
        ncols=len(labels),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},  # colours side by side
    )


def _title(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=12)


@contextmanager
def _styled() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield
