"""The figures: what is drawn, and that equal input gives equal bytes."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from hones_core.figure_style import TASK_COLOURS, save
from hones_core.figures import group_bars, head_heatmap, layer_histogram
from hones_core.figures_selectivity import selectivity_matrix

TASKS = ("vqa", "ocr", "caption", "retrieval")


def heads(seed, layers=4, per_layer=8, selected=6):
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "layer": np.repeat(np.arange(layers), per_layer),
            "head": np.tile(np.arange(per_layer), layers),
            "score": generator.normal(0, 0.02, layers * per_layer),
        }
    ).sort_values("score", ascending=False, ignore_index=True)
    return frame.assign(rank=frame.index, selected=frame.index < selected)


def neurons(seed, layers=4, per_layer=50, rankers=(("ap", 1), ("hones", 1), ("random", 3))):
    generator = np.random.default_rng(seed)
    frames = []
    for ranker, seeds in rankers:
        for number in range(seeds):
            order = generator.permutation(layers * per_layer)
            frame = pd.DataFrame({"layer": order // per_layer, "neuron": order % per_layer})
            frames.append(frame.assign(ranker=ranker, seed=number, rank=frame.index))
    return pd.concat(frames, ignore_index=True)


def groups():
    generator = np.random.default_rng(0)
    rows = []
    for task in TASKS:
        for size in range(1, 5):
            for group in (g for g in combinations(TASKS, size) if task in g):
                empty = group == ("ocr", "retrieval")
                drop = np.nan if empty else generator.normal(5, 6)
                rows.append(
                    {
                        "task": task,
                        "group": "+".join(group),
                        "n_neurons": 0 if empty else 12,
                        "drop": drop,
                        "drop_low": drop - 2,
                        "drop_high": drop + 2,
                        "n_trials": 0 if empty else 10,
                        "random_mean": np.nan if empty else 0.5,
                        "random_sd": np.nan if empty else 0.4,
                        "dominant": size == 4,
                        "level": 0.95,
                    }
                )
    return pd.DataFrame(rows).sort_values(["task", "group"], ignore_index=True)


def panels(figure):
    """The axes with a title: panels, not colour bars."""
    return {axis.get_title(): axis for axis in figure.axes if axis.get_title()}


def test_heat_map_shows_each_head_where_it_is():
    rankings = {task: heads(seed) for seed, task in enumerate(TASKS)}
    drawn = panels(head_heatmap(rankings))
    assert list(drawn) == ["VQA", "OCR", "Captioning", "Retrieval"]
    image = drawn["OCR"].images[0]
    assert image.get_array().shape == (4, 8)
    for row in rankings["ocr"].to_dict("records"):
        assert image.get_array()[row["layer"], row["head"]] == row["score"]
    assert image.norm.vmin == -image.norm.vmax == -rankings["ocr"]["score"].abs().max()


def test_heat_map_outlines_the_selected_heads():
    ranking = heads(0)
    axis = panels(head_heatmap({"vqa": ranking}))["VQA"]
    (outlines,) = [c for c in axis.collections if isinstance(c, LineCollection)]
    middles = {tuple(np.mean(segment[:4], axis=0)) for segment in outlines.get_segments()}
    chosen = ranking[ranking["selected"]]
    assert middles == set(zip(chosen["head"], chosen["layer"], strict=True))


def test_heat_map_of_heads_without_any_effect():
    head_heatmap({"vqa": heads(0).assign(score=0.0)})


@pytest.mark.parametrize("layers", [4, 32])
def test_layer_histogram_counts_the_top_neurons(layers):
    rankings = {task: neurons(seed, layers) for seed, task in enumerate(TASKS)}
    tops = {task: ranking.query("rank < 20") for task, ranking in rankings.items()}
    drawn = panels(layer_histogram(tops, 20, layers))
    assert list(drawn) == ["HONES", "AP", "random"]
    for name, ranker in (("HONES", "hones"), ("random", "random")):
        top = rankings["ocr"].query(f"ranker == '{ranker}' and rank < 20")
        expected = [(top["layer"] == layer).mean() * 100 for layer in range(layers)]
        if layers == 4:
            shares = [bar.get_height() for bar in drawn[name].containers[1]]
        else:
            shares = drawn[name].lines[2].get_ydata()  # after the even spread and VQA
        np.testing.assert_allclose(shares, expected)
        assert drawn[name].get_ylim()[0] == 0
        assert drawn[name].get_ylim()[1] >= max(expected)


def test_layer_histogram_with_a_ranker_of_one_task():
    rankings = {"vqa": neurons(0, rankers=(("hones", 1), ("dla", 1))), "ocr": neurons(1)}
    assert "DLA" in panels(layer_histogram(rankings, 20, 4))


def test_group_bars_are_sorted_and_marked():
    table = groups()
    drawn = panels(group_bars(table))
    assert list(drawn) == ["VQA", "OCR", "Captioning", "Retrieval"]
    axis = drawn["OCR"]
    bars = [container[0] for container in axis.containers]
    widths = [bar.get_width() for bar in bars if bar.get_height() > 0.4]
    expected = table.query("task == 'ocr' and n_neurons > 0")["drop"]
    np.testing.assert_allclose(widths, sorted(expected))
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels[0] == "O+R (0)" and len(labels) == 8
    assert [text.get_text() for text in axis.texts] == ["empty"]
    bold = [t.get_text() for t in axis.get_yticklabels() if t.get_fontweight() == "bold"]
    assert bold == ["V+O+C+R (12)"]
    full = to_rgba(TASK_COLOURS["ocr"])
    assert sum(bar.get_facecolor() == full for bar in bars) == 1


def test_group_bars_of_a_task_that_scores_nothing():
    table = groups().assign(drop=np.nan, drop_low=np.nan, drop_high=np.nan)
    words = [text.get_text() for text in panels(group_bars(table))["OCR"].texts]
    assert sorted(words) == ["empty"] + ["undefined"] * 7


def drawings():
    yield "heads", head_heatmap({"vqa": heads(0)}, "Heads")
    yield "layers", layer_histogram({"vqa": neurons(0)}, 20, 4, "Layers")
    yield "groups", group_bars(groups().query("task == 'vqa'"), "Groups")


def test_files_repeat_byte_for_byte(tmp_path):
    for name, figure in drawings():
        save(figure, tmp_path / "first" / name)
    with mpl.rc_context({"font.size": 23, "svg.hashsalt": "of the user", "axes.grid": True}):
        for name, figure in drawings():
            save(figure, tmp_path / "second" / name)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == [f"{n}.{s}" for n in ("groups", "heads", "layers") for s in ("png", "svg")]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    assert b"<dc:date>" not in (tmp_path / "first" / "heads.svg").read_bytes()


def test_the_selectivity_matrix_names_empty_sets_and_undefined_drops():
    rows = [
        {"source_task": source, "kind": kind, "task": task, "n_neurons": size, "shown": size > 0}
        | {"drop": drop, "drop_low": drop - 1, "drop_high": drop + 1}
        for kind in ("top", "dominant")
        for source, size in (("vqa", 3), ("ocr", 0 if kind == "dominant" else 2))
        for task, drop in (("vqa", -0.2), ("ocr", float("nan") if size == 0 else 30.0))
    ]
    figure = selectivity_matrix(pd.DataFrame(rows), "toy")
    texts = [text.get_text() for axis in figure.axes for text in axis.texts]
    assert texts.count("empty") == 2 and "0\n[-1, 1]" in texts and "30\n[29, 31]" in texts
    assert [axis.get_title() for axis in figure.axes] == ["Whole top set", "Dominant group"]
