"""The tables of steering against their definitions, and the paper's figures beside them."""

import numpy as np
import pandas as pd
import pytest
from tables_support import (
    BOOTSTRAP,
    COMPARE,
    MODELS,
    SCORES,
    TASKS,
    paper,
    places,
    predictions,
    row_of,
    score_of,
)

from hones_core.schemas.tables import STEERING_BOOTSTRAP, STEERING_SIDE_EFFECTS
from hones_core.statistics import AlignmentError
from hones_core.tables.steering import steering, steering_bootstrap, steering_side_effects

pytest_plugins = ["tables_fixtures"]


def score(frames, place, method, seed=0):
    rows = frames[place].query(f"method == '{method}' and seed == {seed}")
    return score_of(rows, place[1])


def test_gain_equals_its_definition(steered_frames, gains):
    place = ("llava", "caption")
    scores = {name: score(steered_frames, place, name) for name in ("base", "hones")}
    found = row_of(gains, model="llava", method="hones", task="caption")
    assert found["score"] == pytest.approx(scores["hones"])
    assert found["gain"] == pytest.approx((scores["hones"] - scores["base"]) * 100)
    assert found["gain_low"] > 0 and found["gain_p"] == pytest.approx(1 / 201)
    assert found["paper_score"] == 0.1407
    assert np.isnan(found["seed_sd"]) and found["n_seeds"] == 1
    of_base = row_of(gains, model="llava", method="base", task="caption")
    assert (of_base["gain"], of_base["gain_low"], of_base["gain_p"]) == (0.0, 0.0, 1.0)
    average = gains.query("model == 'llava' and method == 'hones'").set_index("task")["gain"]
    assert average["avg"] == pytest.approx(average[list(TASKS)].mean())
    assert row_of(gains, model="llava", method="hones", task="avg")["paper_score"] == 0.5946


def test_random_is_the_mean_over_its_banks(steered_frames, gains):
    for task in TASKS:
        seeds = [score(steered_frames, ("qwen", task), "random", seed) for seed in (0, 1)]
        found = row_of(gains, model="qwen", method="random", task=task)
        assert found["n_seeds"] == 2
        assert found["score"] == pytest.approx(np.mean(seeds))
        assert found["seed_sd"] == pytest.approx(np.std(seeds, ddof=1))
        assert (found["seed_min"], found["seed_max"]) == pytest.approx((min(seeds), max(seeds)))
        assert found["kl"] == pytest.approx(0.05)
        assert found["development_score"] == pytest.approx(0.55)  # of what was chosen only
    average = row_of(gains, model="qwen", method="random", task="avg")
    of_tasks = gains.query("model == 'qwen' and method == 'random' and task != 'avg'")
    assert average["score"] == pytest.approx(of_tasks["score"].mean())
    assert average["n_instances"] == of_tasks["n_instances"].sum()


def test_the_base_is_needed(steered_frames, searches):
    place = ("llava", "vqa")
    without = {place: steered_frames[place].query("method != 'base'")}
    with pytest.raises(KeyError, match="no method 'base'"):
        steering(without, searches, SCORES, None, {}, BOOTSTRAP)


def test_every_other_method_is_compared_with_ours(steered_frames, gains):
    figures = paper("steering_bootstrap_delta_pp")
    table = steering_bootstrap(steered_frames, SCORES, figures, COMPARE, BOOTSTRAP)
    assert list(table.columns) == STEERING_BOOTSTRAP.names
    assert len(table) == len(MODELS) * 3 * (len(TASKS) + 1)
    for task in TASKS:
        against_base = row_of(table, model="llava", task=task, baseline="base")
        gain = row_of(gains, model="llava", method="hones", task=task)
        assert against_base["delta"] == gain["gain"] and against_base["delta_p"] == gain["gain_p"]
        other = row_of(gains, model="llava", method="random", task=task)
        found = row_of(table, model="llava", task=task, baseline="random")
        assert found["delta"] == pytest.approx(100 * (gain["score"] - other["score"]))
        assert found["mean_delta"] == pytest.approx(found["delta"], abs=3)
    found = row_of(table, model="llava", task="ocr", baseline="fixed_amp")
    assert (found["paper_mean_delta"], found["paper_sd"]) == (1.99, 1.2)
    assert np.isnan(row_of(table, model="qwen", task="ocr", baseline="base")["paper_sd"])
    assert table.query("task == 'avg'")["paper_sd"].isna().all()


def test_side_effects_are_of_every_pair_of_tasks(steered_frames, gains):
    generator = np.random.default_rng(9)
    others = {
        (model, task): pd.concat(
            [
                predictions(generator, task, 0.3, steered_task=other)
                for other in TASKS
                if other != task
            ]
        )
        for model, task in places()
    }
    table = steering_side_effects(steered_frames, others, SCORES, BOOTSTRAP)
    assert list(table.columns) == STEERING_SIDE_EFFECTS.names
    assert len(table) == len(MODELS) * len(TASKS) ** 2
    own = row_of(table, model="llava", steered_task="vqa", scored_task="vqa")
    assert own["gain"] == row_of(gains, model="llava", method="hones", task="vqa")["gain"]
    found = row_of(table, model="qwen", steered_task="ocr", scored_task="caption")
    rows = others["qwen", "caption"].query("steered_task == 'ocr'")
    base = score(steered_frames, ("qwen", "caption"), "base")
    assert found["gain"] == pytest.approx(100 * (score_of(rows, "caption") - base))
    assert found["gain_high"] < 0
    place = ("llava", "vqa")
    others[place] = others[place].iloc[1:]
    with pytest.raises(AlignmentError, match="side effects on llava, vqa"):
        steering_side_effects(steered_frames, others, SCORES, BOOTSTRAP)


def test_side_effects_of_a_single_task(steered_frames):
    place = ("llava", "vqa")
    nothing = pd.DataFrame(columns=["steered_task", "instance_id", "statistics"])
    table = steering_side_effects(
        {place: steered_frames[place]}, {place: nothing}, SCORES, BOOTSTRAP
    )
    assert len(table) == 1
