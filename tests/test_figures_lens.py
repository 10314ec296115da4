"""The figures of group sizes and of the logit lens: what is drawn, and that nothing is cut."""

import io
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from PIL import Image

from hones_core.figure_style import DPI, TASK_COLOURS, WIDTH, save
from hones_core.figures_group_sizes import group_sizes
from hones_core.figures_lens import group_label, lens_curves
from hones_core.figures_lens_samples import drawable, lens_examples, wrapped
from hones_core.neuron_sets import group_names, overlap_groups
from hones_core.schemas.lens import KINDS, SETS
from hones_core.vocabulary import visible

TASKS = ("vqa", "ocr", "caption", "retrieval")
LONG = "Answer the question briefly using one or a few words."
WORDS = [" red", "$x$", LONG, "\n", "\u4e2d", "donaudampfschiffahrt" * 4, "_", "b"]


def groups(sizes: dict[str, int]) -> pd.DataFrame:
    sets: dict[str, set] = {task: set() for task in TASKS}
    number = 0
    for name, size in sizes.items():
        for _ in range(size):
            for task in name.split("+"):
                sets[task].add((0, number))
            number += 1
    return overlap_groups({task: frozenset(neurons) for task, neurons in sets.items()})


def texts(figure) -> list[str]:
    return [text.get_text() for axis in figure.axes for text in axis.texts]


def test_group_sizes_are_written_on_their_bars():
    sizes = dict(zip(group_names(TASKS), [12, 1204, 0, 3, *range(11)], strict=True))
    figure = group_sizes(groups(sizes), TASKS, "model")
    bars, totals, matrix = figure.axes
    assert [bar.get_height() for bar in bars.patches] == list(sizes.values())
    written = [text.get_text() for text in bars.texts]
    assert written == [f"{size:,}" if size else "empty" for size in sizes.values()]
    own = {task: sum(n for name, n in sizes.items() if task in name.split("+")) for task in TASKS}
    assert sorted(text.get_text() for text in totals.texts) == sorted(
        f"{n:,}" for n in own.values()
    )
    dots = [part for part in matrix.collections if isinstance(part, PathCollection)]
    filled = [part for part in dots if len(part.get_edgecolors()) and part.get_zorder() == 3]
    members = [tuple(TASKS[int(row)] for _, row in part.get_offsets()) for part in filled]
    assert members == [g for size in range(1, 5) for g in combinations(TASKS, size)]


@pytest.mark.parametrize("tasks", [("vqa",), ("ocr", "caption")])
def test_group_sizes_of_runs_with_few_or_no_neurons(tasks):
    empty = pd.DataFrame({"layer": [], "neuron": [], "group": [], "n_tasks": []})
    figure = group_sizes(empty, tasks)
    assert texts(figure).count("empty") == 2 ** len(tasks) - 1


def table(layers=4, empty=("ocr", "dominant")) -> pd.DataFrame:
    rows = []
    for task in TASKS:
        for name in SETS:
            place = {"task": task, "set": name, "group": "vqa+ocr", "level": 0.95}
            if (task, name) == empty:
                nothing = {"n_neurons": 0, "layer": -1, "kind": "none", "group": ""}
                rows.append(
                    place | nothing | dict.fromkeys(("lost", "lost_low", "lost_high"), np.nan)
                )
                continue
            for layer in range(layers):
                for number, kind in enumerate(KINDS):
                    value = layer - number
                    numbers = {"lost": value, "lost_low": value - 0.5, "lost_high": value + 0.5}
                    rows.append(place | numbers | {"layer": layer, "kind": kind, "n_neurons": 7})
    return pd.DataFrame(rows)


def test_lens_curves_show_each_kind_and_say_what_is_empty():
    figure = lens_curves(table(), "model")
    axes = {axis.get_title(loc="left"): axis for axis in figure.axes}
    assert "VQA: dominant group V+O (7 neurons)" in axes and len(axes) == 8
    axis = axes["VQA: dominant group V+O (7 neurons)"]
    lines = [line.get_ydata().tolist() for line in axis.lines if len(line.get_ydata()) == 4]
    assert lines == [[-2, -1, 0, 1], [-1, 0, 1, 2], [0, 1, 2, 3]]  # the target is drawn last
    figure.savefig(io.BytesIO(), format="png")  # lays it out
    for axis in figure.axes:
        left = axis._left_title.get_window_extent()
        assert left.x1 <= figure.bbox.x1, axis.get_title(loc="left")
    assert [text.get_text() for text in axes["OCR: dominant group"].texts] == [
        "no dominant group:\nthe task shares no neuron"
    ]


def test_group_labels():
    assert group_label("vqa+ocr", 1) == "V+O (1 neuron)"
    assert group_label("caption", 1200) == "(1,200 neurons)"


def samples(count=2, empty=("ocr", "dominant")) -> pd.DataFrame:
    rows = []
    for task in TASKS:
        for sample in range(count):
            for name in SETS:
                n_neurons = 0 if (task, name) == empty else 5
                rows.append(
                    {
                        "task": task,
                        "sample": sample,
                        "set": name,
                        "group": "vqa+ocr" if n_neurons else "",
                        "n_neurons": n_neurons,
                        "instance_id": f"{task}/{sample}",
                        "image": f"{sample}.png",
                        "prompt": f"What costs $5 and $6? {LONG} {LONG} {LONG}",
                        "target": "nothing_at_all",
                        "base_answer": "a red star",
                        "base_utility": 1.0,
                        "masked_answer": "",
                        "masked_utility": 0.0,
                    }
                )
    return pd.DataFrame(rows)


def tokens(task, layers=4, count=2) -> pd.DataFrame:
    rows = [
        {"set": name, "layer": layer, "instance_id": f"{task}/{sample}", "rank": rank}
        | {"token": WORDS[(rank + layer) % len(WORDS)], "kind": KINDS[rank % 3]}
        | {"lost": (layer + 1) / (rank + 1)}
        for name in SETS
        for sample in range(count)
        for layer in range(layers)
        for rank in range(5)
    ]
    return pd.DataFrame(rows)


def images(count=2) -> dict:
    return {
        (task, f"{sample}.png"): Image.new("RGB", (64 + 100 * sample, 64), "red")
        for task in TASKS
        for sample in range(count)
    }


@pytest.mark.parametrize("layers", [1, 4, 32])
def test_examples_show_every_token_whole_and_inside_the_page(layers):
    figure = lens_examples(samples(), {task: tokens(task, layers) for task in TASKS}, images(), "m")
    (axis,) = figure.axes
    written = "".join(text.get_text() for text in axis.texts).replace(" ", "")
    used = WORDS if layers > 1 else WORDS[:5]
    for word in used:
        assert drawable(visible(word)).replace(" ", "") in written, word
    assert "no dominant group" in " ".join(text.get_text() for text in axis.texts)
    assert "(nothing)" in written
    figure.set_dpi(DPI)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in axis.texts:
        box = text.get_window_extent(renderer).transformed(figure.dpi_scale_trans.inverted())
        assert box.x0 >= -0.01 and box.x1 <= WIDTH + 0.01, text.get_text()
        assert box.y0 >= -0.01 and box.y1 <= figure.get_figheight() + 0.01, text.get_text()
    shown = {text.get_text() for text in axis.texts if text.get_text().startswith("layer ")}
    assert len(shown) == min(layers, 6)
    assert len(axis.images) == 8


def test_a_sample_that_loses_nothing_says_so():
    nothing = {task: tokens(task).iloc[:0] for task in TASKS}
    written = texts(lens_examples(samples(1), nothing, images(1)))
    assert written.count("no layer loses anything here") == 7  # the eighth set is empty


def test_lines_are_broken_at_spaces_and_within_long_words():
    lines = list(wrapped(f"one two {'x' * 200} three", 1.0, 9))
    assert "".join(lines).replace(" ", "") == "onetwo" + "x" * 200 + "three"
    assert lines[0] == "one two" and len(lines) > 3
    assert list(wrapped("", 1.0, 9)) == [""]
    assert drawable("a\nb\u4e2d") == "a b\\u4e2d"


def test_files_repeat_byte_for_byte(tmp_path):
    for folder in ("first", "second"):
        save(group_sizes(groups({"vqa": 3, "vqa+ocr": 2}), TASKS), tmp_path / folder / "sizes")
        save(lens_curves(table()), tmp_path / folder / "lens")
        own = samples(1).query("task == 'ocr'")
        drawn = lens_examples(own, {"ocr": tokens("ocr")}, images(1))
        save(drawn, tmp_path / folder / "examples")
    for path in (tmp_path / "first").iterdir():
        assert path.read_bytes() == (tmp_path / "second" / path.name).read_bytes()
    assert TASK_COLOURS["vqa"].lower() in (tmp_path / "first" / "sizes.svg").read_text()
