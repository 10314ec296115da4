"""Head budget and share of neurons: predictions against explicit hooks, drops, elbow, figures."""

from contextlib import ExitStack

import numpy as np
import pandas as pd
import pytest
import torch
from model_support import edited, make_instances, mean_of_others, stock_answer
from tables_support import BOOTSTRAP, SCORES, predictions, row_of, score_of

from hones_core import artifacts
from hones_core.engine.interventions import MeanReplaceHeads, mean_replace_head, mean_replace_heads
from hones_core.figures_sweeps import head_budget_curves, ratio_curves
from hones_core.schemas.sweeps import (
    HEAD_BUDGET,
    HEAD_BUDGET_PREDICTIONS,
    RATIO_DROP,
    RATIO_PREDICTIONS,
)
from hones_core.sweeps import predict_head_budget, predict_ratio_masked
from hones_core.tables.sweeps import elbow, head_budget, ratio_drop

pytest_plugins = ["model_fixtures"]

ORDER = [(1, 2), (0, 0), (1, 3), (0, 3), (1, 0), (0, 1), (0, 2), (1, 1)]


def head_ranking() -> pd.DataFrame:
    rows = [(rank, *place) for rank, place in enumerate(ORDER)]
    return pd.DataFrame(rows, columns=["rank", "layer", "head"]).assign(screened=False)


def several_edit(heads: list[int], n_heads: int):
    """Each of the heads by the mean of the others' original outputs, with plain slices."""

    def edit(x):
        width = x.shape[-1] // n_heads
        means = [mean_of_others(x, head, n_heads) for head in heads]
        for head, mean in zip(heads, means, strict=True):
            x[..., head * width : (head + 1) * width] = mean
        return x

    return edit


def test_several_heads_are_replaced_from_the_original_outputs():
    heads = torch.randn(2, 3, 4 * 5)
    replaced = mean_replace_heads(heads, [1, 3], 4)
    for head in range(4):
        place = slice(head * 5, (head + 1) * 5)
        alone = mean_replace_head(heads, head, 4) if head in (1, 3) else heads
        assert torch.equal(replaced[..., place], alone[..., place])


def test_head_budget_against_hooks(tiny, tmp_path):
    evaluator, instances = tiny.evaluator("caption"), make_instances("caption")
    found = predict_head_budget(evaluator, instances, head_ranking(), [1, 3, 99])
    artifacts.write(tmp_path / "budget.parquet", found, HEAD_BUDGET_PREDICTIONS, {})
    assert sorted(found["n_heads"].unique()) == [0, 1, 3, 8]
    texts = set()
    for size in (0, 1, 3, 8):
        for item in instances:
            with ExitStack() as stack:
                for layer in (0, 1):
                    own = [head for other, head in ORDER[:size] if other == layer]
                    if own:
                        stack.enter_context(edited(tiny, layer, "heads", several_edit(own, 4)))
                expected = stock_answer(tiny, evaluator, item)
            row = row_of(found, n_heads=size, instance_id=item.instance_id)
            assert row["prediction"] == expected
            texts.add((item.instance_id, expected))
    assert len(texts) > len(instances)  # some budget changes some answer


def test_the_order_of_the_heads_does_not_matter(tiny):
    evaluator = tiny.evaluator("vqa")
    prepared = evaluator.prepare(make_instances("vqa"))
    settings = {
        "one": MeanReplaceHeads(((0, 1), (1, 2), (1, 0))),
        "other": MeanReplaceHeads(((1, 0), (1, 2), (0, 1))),
    }
    found = evaluator.outcomes_under(prepared, settings)
    assert found["one"] == found["other"]


def neuron_ranking() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    frames = []
    for ranker, seed in (("hones", 0), ("random", 1)):
        order = generator.permutation(48)
        frame = pd.DataFrame({"layer": order // 24, "neuron": order % 24})
        frames.append(frame.assign(ranker=ranker, seed=seed, rank=range(48)))
    return pd.concat(frames, ignore_index=True)


def test_shares_of_neurons(tiny, tmp_path):
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    ratios = [0.1, 0.5, 1.0]
    found = predict_ratio_masked(
        evaluator, instances, neuron_ranking(), ["hones", "random"], ratios
    )
    artifacts.write(tmp_path / "ratio.parquet", found, RATIO_PREDICTIONS, {})
    sizes = found.groupby(["ranker", "ratio"])["n_neurons"].unique()
    assert {key: value.tolist() for key, value in sizes.items()} == {
        (ranker, ratio): [size]
        for ranker in ("hones", "random")
        for ratio, size in zip(ratios, (5, 24, 48), strict=True)
    }
    for item in instances:
        with ExitStack() as stack:
            for layer in (0, 1):
                stack.enter_context(edited(tiny, layer, "z", torch.zeros_like))
            expected = stock_answer(tiny, evaluator, item)
        for ranker in ("hones", "random"):  # all neurons are all neurons
            row = row_of(found, ranker=ranker, ratio=1.0, instance_id=item.instance_id)
            assert row["prediction"] == expected


@pytest.mark.parametrize(
    ("drops", "expected"),
    [
        ({0: 0, 1: 10, 2: 60, 4: 80, 8: 85, 16: 90}, 4),
        ({0: 0, 1: 1, 2: 2}, None),  # on the line
        ({0: 0, 1: -5, 2: 90}, None),  # below it
        ({0: 0, 4: 50}, None),
        ({0: 0, 1: 50, 2: float("nan")}, None),
    ],
)
def test_elbow(drops, expected):
    assert elbow(drops) == expected


@pytest.fixture(scope="module")
def budget_table():
    generator = np.random.default_rng(0)
    frames = {
        ("llava", task): pd.concat(
            predictions(generator, task, quality, n_heads=size)
            for size, quality in {0: 0.9, 1: 0.7, 4: 0.2, 16: 0.1}.items()
        )
        for task in ("vqa", "caption")
    }
    return frames, head_budget(frames, SCORES, BOOTSTRAP)


def test_head_budget_table(budget_table, tmp_path):
    frames, table = budget_table
    artifacts.write(tmp_path / "table.parquet", table, HEAD_BUDGET, {})
    for (model, task), frame in frames.items():
        base = score_of(frame[frame["n_heads"] == 0], task)
        for size, part in frame.groupby("n_heads"):
            row = row_of(table, model=model, task=task, n_heads=size)
            assert row["drop"] == pytest.approx(100 * (base - score_of(part, task)) / base)
            assert row["drop_low"] <= row["drop"] <= row["drop_high"]
        assert table[(table["task"] == task) & table["elbow"]]["n_heads"].tolist() == [4]


@pytest.fixture(scope="module")
def ratio_table():
    generator = np.random.default_rng(1)
    base, frames = {}, {}
    for task in ("vqa", "caption"):
        base["llava", task] = predictions(generator, task, 0.9, range(70))  # ten too many
        frames["llava", task] = pd.concat(
            predictions(generator, task, quality, ranker=ranker, ratio=ratio, n_neurons=n)
            for ranker, qualities in {"hones": (0.7, 0.2), "random": (0.9, 0.85)}.items()
            for quality, ratio, n in zip(qualities, (0.01, 0.05), (10, 50), strict=True)
        )
    return base, frames, ratio_drop(base, frames, SCORES, BOOTSTRAP)


def test_ratio_table(ratio_table, tmp_path):
    base, frames, table = ratio_table
    artifacts.write(tmp_path / "table.parquet", table, RATIO_DROP, {})
    for place, frame in frames.items():
        task = place[1]
        whole = base[place]
        unmasked = score_of(whole[whole["instance_id"].isin(frame["instance_id"])], task)
        for (ranker, ratio), part in frame.groupby(["ranker", "ratio"]):
            row = row_of(table, task=task, ranker=ranker, ratio=ratio)
            expected = 100 * (unmasked - score_of(part, task)) / unmasked
            assert row["drop"] == pytest.approx(expected)
            assert row["n_neurons"] == part["n_neurons"].iloc[0]


def test_curves(budget_table, ratio_table):
    figure = head_budget_curves(budget_table[1], "llava")
    axis = next(axis for axis in figure.axes if axis.get_title() == "VQA")
    line, ring = axis.lines[:2]
    assert line.get_xdata().tolist() == [0, 1, 4, 16]
    assert ring.get_xdata().tolist() == [4]
    figure = ratio_curves(ratio_table[2], "llava")
    axis = next(axis for axis in figure.axes if axis.get_title() == "Captioning")
    assert [list(line.get_xdata()) for line in axis.lines[:2]] == [[0.01, 0.05]] * 2
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["HONES", "random"]
