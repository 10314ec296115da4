"""Head effects against one-by-one runs; the order of the heads against its definition."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from model_support import edited, head_edit, make_instances, stock_answer

from hones_core import artifacts
from hones_core.engine.joint import JointEvaluator
from hones_core.head_ranking import rank_heads
from hones_core.heads import measure_head_effects
from hones_core.schemas.heads import HEAD_EFFECTS, HEAD_RANKING
from hones_core.tasks import get_task

pytest_plugins = ["model_fixtures"]


@pytest.mark.parametrize("task", ["ocr", "caption", "retrieval"])
def test_every_head_on_every_instance(tiny, tmp_path, task):
    instances = make_instances(task)
    effects = measure_head_effects(tiny.evaluator(task), instances)
    assert len(effects) == (2 * 4 + 1) * len(instances)
    artifacts.write(tmp_path / "effects.parquet", effects, HEAD_EFFECTS, {})
    base = effects.query("layer == -1 and head == -1")
    assert base["instance_id"].tolist() == [item.instance_id for item in instances]
    heads = effects.query("layer >= 0").groupby(["layer", "head"])
    assert sorted(heads.groups) == [(layer, head) for layer in range(2) for head in range(4)]
    for _, group in heads:
        assert group["instance_id"].tolist() == base["instance_id"].tolist()
        assert not np.allclose(group["target_logprob"], base["target_logprob"], atol=1e-4)


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_utilities_are_those_of_stock_generation(tiny, positions, engine):
    """The references are what one head's disruption makes the model say, so that utilities vary."""
    evaluator = tiny.evaluator("ocr", 2, engine=engine)
    start = None if positions == "all" else -1
    instances = make_instances("ocr")

    def said(item):
        return stock_answer(tiny, evaluator, item)

    instances = [
        type(item)(**{**vars(item), "references": (said(item) or "x",)}) for item in instances
    ]
    effects = measure_head_effects(evaluator, instances, positions)
    for layer in range(2):
        for head in range(4):
            rows = effects.query("layer == @layer and head == @head").set_index("instance_id")
            with edited(tiny, layer, "heads", head_edit(head, 4, start)):
                for item in instances:
                    utility = get_task("ocr").utility(said(item), item)
                    assert rows.loc[item.instance_id, "utility"] == utility
    assert (effects.query("layer == -1")["utility"] == 1).all()
    assert (effects.query("layer >= 0")["utility"] < 1).any()


def effects_frame(values: dict) -> pd.DataFrame:
    """{(layer, head): [(utility, target log-probability, first log-probability), ...]}"""
    rows = [
        (layer, head, f"i{sample}", *triple, False)
        for (layer, head), samples in values.items()
        for sample, triple in enumerate(samples)
    ]
    return pd.DataFrame(rows, columns=HEAD_EFFECTS.names)


BASE = [(1.0, -1.0, -0.5), (0.5, -2.0, -1.5)]
VALUES = {
    (-1, -1): BASE,
    (0, 0): [(1.0, -1.0, -0.5), (0.5, -2.0, -1.5)],  # nothing lost
    (0, 1): [(0.5, -1.5, -0.2), (0.5, -2.0, -3.0)],
    (1, 0): [(1.0, -1.0, -0.6), (0.0, -4.0, -1.6)],  # the same utility, more log-probability
    (1, 1): [(1.0, -0.5, -0.1), (1.0, -1.0, -0.1)],  # better without it
}


@pytest.mark.parametrize("utility", ["task_metric", "target_logprob", "first_token_prob"])
def test_scores_and_order(tmp_path, utility):
    ranking = rank_heads(effects_frame(VALUES), utility, top_k=2)

    def value(triple):
        return {
            "task_metric": triple[0],
            "target_logprob": triple[1],
            "first_token_prob": 2.718281828459045 ** triple[2],
        }[utility]

    expected = []
    for (layer, head), samples in VALUES.items():
        if layer >= 0:
            pairs = list(zip(BASE, samples, strict=True))
            score = sum(value(base) - value(own) for base, own in pairs) / 2
            logprob = sum(base[1] - own[1] for base, own in pairs) / 2
            expected.append((-round(score, 9), -logprob, layer, head))
    expected.sort()
    assert list(zip(ranking["layer"], ranking["head"], strict=True)) == [e[2:] for e in expected]
    np.testing.assert_allclose(ranking["score"], [-e[0] for e in expected], atol=1e-9)
    np.testing.assert_allclose(ranking["logprob_drop"], [-e[1] for e in expected])
    assert ranking["rank"].tolist() == [0, 1, 2, 3]
    assert ranking["selected"].tolist() == [True, True, False, False]
    artifacts.write(tmp_path / "ranking.parquet", ranking, HEAD_RANKING, {})


def test_ties_fall_to_log_probability_then_to_layer_and_head():
    ranking = rank_heads(effects_frame(VALUES), "task_metric", top_k=1)
    order = list(zip(ranking["layer"], ranking["head"], strict=True))
    assert order == [(1, 0), (0, 1), (0, 0), (1, 1)]
    same = dict.fromkeys([(-1, -1), (1, 1), (0, 1), (1, 0), (0, 0)], BASE)
    ranking = rank_heads(effects_frame(same), "task_metric", top_k=1)
    assert list(zip(ranking["layer"], ranking["head"], strict=True)) == sorted(same)[1:]


def test_rounding_of_sums_does_not_break_ties():
    """The same losses on other samples are a tie, which the log-probability decides."""

    def plain_mean(losses) -> float:
        return float(np.mean([1.0 - (1 - loss) for loss in losses]))

    orders = sorted(permutations([0.3, 0.6, 0.9, 0.1, 0.7]), key=plain_mean)
    assert plain_mean(orders[0]) < plain_mean(orders[-1])
    values = {
        (-1, -1): [(1.0, -1.0, -1.0)] * 5,
        (0, 0): [(1 - loss, -1.1, -1.0) for loss in orders[-1]],
        (0, 1): [(1 - loss, -1.2, -1.0) for loss in orders[0]],
    }
    assert rank_heads(effects_frame(values), "task_metric", 1)["head"].tolist() == [1, 0]


def test_row_order_does_not_matter():
    frame = effects_frame(VALUES)
    shuffled = frame.sample(frac=1, random_state=3)
    columns = ["layer", "head", "score", "rank"]
    pd.testing.assert_frame_equal(
        rank_heads(frame, "task_metric", 2)[columns].reset_index(drop=True),
        rank_heads(shuffled, "task_metric", 2)[columns].reset_index(drop=True),
    )


def test_refusals():
    frame = effects_frame(VALUES)
    with pytest.raises(ValueError, match="known: task_metric"):
        rank_heads(frame, "accuracy", 2)
    for top_k in (0, 5):
        with pytest.raises(ValueError, match="has 4 heads"):
            rank_heads(frame, "task_metric", top_k)
    with pytest.raises(ValueError, match=r"head 0\.0 was not measured"):
        rank_heads(frame.drop(index=2), "task_metric", 2)


def test_tasks_measured_together_are_as_apart(tiny):
    samples = {"vqa": make_instances("vqa", 4), "caption": make_instances("caption", 3)}
    evaluators = [tiny.evaluator(task) for task in samples]
    together = measure_head_effects(
        JointEvaluator(evaluators), [one for own in samples.values() for one in own]
    )
    for evaluator in evaluators:
        own = samples[evaluator.task_name]
        rows = together[together["instance_id"].isin([one.instance_id for one in own])]
        keys = ["layer", "head", "instance_id"]
        found, expected = (
            frame.sort_values(keys, ignore_index=True)
            for frame in (rows, measure_head_effects(evaluator, own))
        )
        pd.testing.assert_frame_equal(found, expected, atol=1e-5)
