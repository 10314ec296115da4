"""Masking against a copied model without the neurons' columns; dominant groups."""

import math
from collections import Counter

import pandas as pd
import pytest
import torch
from model_support import Tiny, instance, make_instances, stock_answer, stock_logits
from transformers import LlavaForConditionalGeneration

from hones_core import artifacts
from hones_core.dominant_groups import select_dominant_groups, split_score
from hones_core.engine.interventions import ZeroNeurons, applied
from hones_core.masking import predict_masked, with_nonzero_scores
from hones_core.predictions import predict_base
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.masking import DOMINANT_GROUPS, GROUP_PREDICTIONS, MASKED_PREDICTIONS
from hones_core.tasks import get_task

pytest_plugins = ["model_fixtures"]

NEURONS = frozenset([(0, 1), (0, 2), (0, 17), (1, 0), (1, 5), (1, 23), (1, 9)])
EVERYTHING = frozenset((layer, neuron) for layer in range(2) for neuron in range(24))
LABELS = ("ranker", "seed")


def without(tiny, neurons) -> Tiny:
    """A copy of the stock model whose down_proj has zeros in the neurons' columns."""
    stock = LlavaForConditionalGeneration(tiny.stock.config).eval()
    stock.load_state_dict(tiny.stock.state_dict())
    with torch.no_grad():
        for layer, neuron in neurons:
            stock.model.language_model.layers[layer].mlp.down_proj.weight[:, neuron] = 0
    return Tiny(tiny.folder, tiny.images, tiny.adapter, stock, tiny.processor)


@pytest.mark.parametrize("neurons", [NEURONS, EVERYTHING], ids=["some", "all"])
@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_masking_is_a_model_without_the_columns(tiny, neurons, engine):
    evaluator = tiny.evaluator("vqa", 2, engine=engine)
    instances = make_instances("vqa")
    copied = without(tiny, neurons)
    frame = predict_masked(evaluator, instances, {("x", 0): neurons}, LABELS)
    found = frame.set_index("instance_id")["prediction"]
    assert [found[item.instance_id] for item in instances] == [
        stock_answer(copied, evaluator, item) for item in instances
    ]
    assert any(found[item.instance_id] != stock_answer(tiny, evaluator, item) for item in instances)
    with torch.no_grad(), applied(tiny.adapter, ZeroNeurons.of(neurons)):
        batch = evaluator.encode(instances)
        logits = tiny.adapter.logits(tiny.adapter.hidden_states(batch))
    for row, item in enumerate(instances):
        expected = stock_logits(copied, item.image, evaluator.text(item))
        torch.testing.assert_close(logits[row, -len(expected) :], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("task", ["vqa", "ocr", "caption", "retrieval"])
def test_counts_in_are_counts_out(tiny, tmp_path, task):
    instances = make_instances(task, 5)
    evaluator = tiny.evaluator(task, 2)
    sets = {("a", 0): NEURONS, ("b", 0): frozenset([(0, 4)]), ("b", 1): frozenset()}
    frame = predict_masked(evaluator, instances, sets, LABELS)
    ranking = pd.DataFrame(
        [("a", 0, 0.5), ("a", 0, 0.0), ("a", 0, -0.1), ("b", 0, 0.0), ("b", 1, 1.0)],
        columns=["ranker", "seed", "score"],
    )
    frame = with_nonzero_scores(frame, ranking)
    assert frame.groupby("ranker")["n_nonzero"].unique().map(list).to_dict() == {"a": [2], "b": [0]}
    artifacts.write(tmp_path / "masked.parquet", frame, MASKED_PREDICTIONS, {})
    assert Counter(zip(frame["ranker"], frame["seed"], strict=True)) == {("a", 0): 5, ("b", 0): 5}
    for (ranker, seed), rows in frame.groupby(["ranker", "seed"]):
        assert rows["instance_id"].tolist() == [item.instance_id for item in instances]
        assert set(rows["n_neurons"]) == {len(sets[ranker, seed])}
    base = predict_base(evaluator, instances)
    artifacts.write(tmp_path / "base.parquet", base, BASE_PREDICTIONS, {})
    assert base["instance_id"].tolist() == [item.instance_id for item in instances]


def test_base_and_masked_runs_leave_each_other_alone(tiny):
    """The base between two masked runs is bit for bit the base alone."""
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa", 2)
    alone = predict_base(evaluator, instances)
    predict_masked(evaluator, instances, {("a", 0): EVERYTHING}, LABELS)
    pd.testing.assert_frame_equal(predict_base(evaluator, instances), alone, check_exact=True)
    assert alone["split"].tolist() == ["discovery"] * 3


@pytest.mark.parametrize("sets", [{}, {("a", 0): frozenset()}])
@pytest.mark.parametrize(
    ("schema", "labels"), [(MASKED_PREDICTIONS, LABELS), (GROUP_PREDICTIONS, ("group", "trial"))]
)
def test_nothing_to_mask_gives_an_empty_artifact(tiny, tmp_path, sets, schema, labels):
    instances = make_instances("vqa")
    frame = predict_masked(tiny.evaluator("vqa"), instances, sets, labels)
    if "split" in schema.names:  # as the rule's script adds it
        frame["split"] = frame["instance_id"].map({item.instance_id: "test" for item in instances})
    if "n_nonzero" in schema.names:
        ranking = pd.DataFrame({"ranker": ["a"], "seed": [0], "score": [0.5]})
        frame = with_nonzero_scores(frame, ranking)
    artifacts.write(tmp_path / "empty.parquet", frame, schema, {})
    assert artifacts.read(tmp_path / "empty.parquet", schema).columns.tolist() == schema.names


def predictions(split: str, scores, **columns) -> pd.DataFrame:
    rows = [
        {"instance_id": f"{split}{i}", "split": split, "statistics": [score], **columns}
        for i, score in enumerate(scores)
    ]
    return pd.DataFrame(rows)


def group_frame(groups: dict, split="development") -> pd.DataFrame:
    """{(group, trial): scores}"""
    return pd.concat(
        [
            predictions(split, scores, group=group, trial=trial, n_neurons=len(group))
            for (group, trial), scores in groups.items()
        ],
        ignore_index=True,
    )


def test_dominant_group(tmp_path):
    base = {
        "vqa": pd.concat([predictions("development", [1.0, 0.6]), predictions("test", [0.0, 0.0])]),
        "ocr": predictions("development", [0.5, 0.5]),
        "caption": predictions("development", [0.0]),
    }
    masked = {
        "vqa": pd.concat(
            [
                group_frame(
                    {
                        ("vqa", -1): [0.0, 0.0],  # specific: never dominant
                        ("vqa+ocr", -1): [1.0, 0.4],  # 12.5 %
                        ("vqa+caption", -1): [0.8, 0.4],  # 25 %
                        ("vqa+ocr", 0): [0.0, 0.0],  # random control
                    }
                ),
                group_frame({("vqa+ocr", -1): [0.0, 0.0]}, split="test"),
            ]
        ),
        "ocr": group_frame({("ocr", -1): [0.0, 0.0]}),
        "caption": group_frame({("vqa+caption", -1): [0.0]}),
    }
    base = {"vqa": base["vqa"], "ocr": base["ocr"]}
    found = select_dominant_groups(base, {t: masked[t] for t in base}, "development")
    artifacts.write(tmp_path / "dominant.parquet", found, DOMINANT_GROUPS, {})
    rows = found.set_index("task")
    assert rows.loc["vqa", "group"] == "vqa+caption"
    assert rows.loc["vqa", "relative_drop"] == pytest.approx(25.0)
    assert rows.loc["vqa", "n_neurons"] == len("vqa+caption")
    assert rows.loc["ocr", "group"] == ""  # shares nothing
    assert math.isnan(rows.loc["ocr", "relative_drop"])


def test_dominant_group_ties_fall_to_the_name_and_negative_drops_count():
    base = {"vqa": predictions("test", [0.5])}
    masked = {"vqa": group_frame({("vqa+z", -1): [0.6], ("vqa+b", -1): [0.6]}, split="test")}
    rows = select_dominant_groups(base, masked, "test")
    assert rows["group"].tolist() == ["vqa+b"]
    assert rows["relative_drop"].tolist() == [pytest.approx(-20.0)]


def test_dominant_groups_of_an_empty_artifact(tiny, tmp_path):
    frame = predict_masked(tiny.evaluator("vqa"), [], {}, ("group", "trial")).assign(split="test")
    artifacts.write(tmp_path / "empty.parquet", frame, GROUP_PREDICTIONS, {})
    masked = {"vqa": artifacts.read(tmp_path / "empty.parquet", GROUP_PREDICTIONS)}
    found = select_dominant_groups({"vqa": predictions("test", [0.5])}, masked, "test")
    assert found["group"].tolist() == [""]


def test_split_score_is_the_tasks_own():
    item = instance("caption", 0, references=("a red star",) * 5)
    rows = [
        get_task("caption").statistics(text, item) for text in ("a red star", "a red box on it")
    ]
    expected = get_task("caption").score([sum(column) for column in zip(*rows, strict=True)], 2)
    assert split_score("caption", pd.DataFrame({"statistics": rows})) == expected
