"""What all figures share: size, colours, names, panels, and how they are saved.

A figure is 9 inches wide, for a README column of about 900 pixels, so that a 10 point label is 14
pixels high there. Equal input gives equal bytes under the same matplotlib.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple

from hones_core.atomic import written_atomically

Layout = Literal["constrained", "compressed"]
WIDTH = 9.0  # inches
HEAD_PANEL = 3.2  # inches, width of a heat map without its colour bar
FEW_LAYERS = 8  # up to here bars, which do not hide each other; beyond, lines
DPI = 200
GREY = "#8c8c8c"
INK = "#222222"
RANDOM = "#d0d0d0"  # bars of random sets
EVEN: dict[str, Any] = {"color": "#555555", "linewidth": 1, "linestyle": (0, (4, 3))}

# Okabe and Ito's palette, told apart with every common colour vision.
TASK_COLOURS = {"vqa": "#0072B2", "ocr": "#D55E00", "caption": "#009E73", "retrieval": "#CC79A7"}
TASK_MARKERS = {"vqa": "o", "ocr": "s", "caption": "^", "retrieval": "D"}
TASK_TITLES = {"vqa": "VQA", "ocr": "OCR", "caption": "Captioning", "retrieval": "Retrieval"}
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

STYLE: Any = {
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


def save(figure: Figure, stem: str | Path) -> None:
    """Write the figure as `stem`.svg and `stem`.png, each to a temporary name and then renamed."""
    for suffix, metadata in ((".svg", {"Date": None}), (".png", {"Software": None})):
        with written_atomically(f"{stem}{suffix}") as temporary, styled():
            figure.savefig(temporary, format=suffix[1:], dpi=DPI, metadata=metadata)


def in_order(tasks: Iterable[str]) -> list[str]:
    """Known tasks in task order, then the others as they come."""
    tasks = list(tasks)
    return [task for task in TASK_TITLES if task in tasks] + [
        task for task in tasks if task not in TASK_TITLES
    ]


def task_name(task: str) -> str:
    return TASK_TITLES.get(task, task)


def panels(
    count: int, columns: int, panel_height: float, layout: Layout = "constrained", **share: Any
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


def outer_labels(axes: list[Axes], columns: int, x: str, y: str) -> None:
    for place, axis in enumerate(axes):
        if place >= len(axes) - columns:
            axis.set_xlabel(x)
        if place % columns == 0:
            axis.set_ylabel(y)


def legend(figure: Figure, handles: list, labels: list[str], title: str | None = None) -> None:
    figure.legend(
        handles,
        labels,
        title=title,
        loc="outside lower center",
        ncols=len(labels),
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},  # colours side by side
    )


def headline(figure: Figure, title: str) -> None:
    if title:
        figure.suptitle(title, fontsize=12)


@contextmanager
def styled() -> Iterator[None]:
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        yield


def lighter(colour: str) -> tuple[float, ...]:
    rgb = np.array(mpl.colors.to_rgb(colour))
    return tuple(rgb + (1 - rgb) * 0.45)
