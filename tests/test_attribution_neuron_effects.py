"""Write-in contributions and drops against loops over the stock model's own activations."""

import numpy as np
import pandas as pd
import pytest
import torch
from engine_support import ENGINES
from model_support import edited, head_edit, make_instances, stock_last_z

from hones_core import artifacts
from hones_core.attribution.hones import base_contributions, score_neurons
from hones_core.attribution.neuron_effects import (
    measure_neuron_effects,
    target_directions,
    write_in_weights,
)
from hones_core.engine.activations import last_token_activations
from hones_core.engine.at_once import Limits
from hones_core.engine.evaluate import Evaluator
from hones_core.models import load_model
from hones_core.schemas.neurons import NEURON_EFFECTS

pytest_plugins = ["model_fixtures"]

HEADS = [(1, 3), (0, 2), (1, 0)]


def contributions_by_hand(tiny, evaluator, item, u) -> np.ndarray:
    """c[l, i] = z_i^l . <W^l[:, i], u>, column by column."""
    z = stock_last_z(tiny, item.image, evaluator.text(item))
    grid = np.zeros((2, 24))
    for layer in range(2):
        columns = tiny.layers[layer].mlp.down_proj.weight
        for neuron in range(24):
            grid[layer, neuron] = z[layer, neuron].item() * (columns[:, neuron] @ u).item()
    return grid


def grid_of(effects, head_layer, head, column) -> np.ndarray:
    """The stored rows as [L, m]; what is not stored is 0."""
    grid = np.zeros((2, 24))
    rows = effects[(effects["head_layer"] == head_layer) & (effects["head"] == head)]
    grid[rows["layer"], rows["neuron"]] = rows[column]
    return grid


@pytest.mark.parametrize("task", ["vqa", "caption", "retrieval"])
@pytest.mark.parametrize("clip", ["per_sample", "after_mean"])
@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("engine", ENGINES)
def test_effects(tiny, tmp_path, task, clip, positions, engine):
    evaluator = tiny.evaluator(task, 2, engine=engine, limits=Limits(copies=2))
    instances = make_instances(task)
    effects = measure_neuron_effects(evaluator, instances, instances, HEADS, clip, positions)
    artifacts.write(tmp_path / "effects.parquet", effects, NEURON_EFFECTS, {})
    directions = target_directions(evaluator, instances, instances)
    pairs = list(zip(instances, directions, strict=True))
    with torch.no_grad():
        base = np.stack([contributions_by_hand(tiny, evaluator, *pair) for pair in pairs])
        np.testing.assert_allclose(
            grid_of(effects, -1, -1, "contribution"), base.mean(0), atol=1e-5
        )
        assert (grid_of(effects, -1, -1, "drop") == 0).all()
        for layer, head in HEADS:
            start = None if positions == "all" else -1
            with edited(tiny, layer, "heads", head_edit(head, 4, start)):
                hurt = np.stack([contributions_by_hand(tiny, evaluator, *pair) for pair in pairs])
            if clip == "per_sample":
                drop = np.maximum(0, base - hurt).mean(0)
            else:
                drop = np.maximum(0, base.mean(0) - hurt.mean(0))
            assert (drop[:layer] == 0).all()  # layers before the head's: exactly
            assert drop[layer:].max() > 1e-3
            np.testing.assert_allclose(grid_of(effects, layer, head, "drop"), drop, atol=1e-5)
            stored = effects.query("head_layer == @layer and head == @head")
            assert sorted(set(stored["layer"])) == list(range(layer, 2))
            np.testing.assert_allclose(
                grid_of(effects, layer, head, "contribution")[layer:],
                hurt.mean(0)[layer:],
                atol=1e-5,
            )


def test_the_clips_differ(tiny):
    evaluator = tiny.evaluator("vqa")
    instances = make_instances("vqa")
    found = {
        clip: measure_neuron_effects(evaluator, instances, instances, HEADS, clip)["drop"]
        for clip in ("per_sample", "after_mean")
    }
    assert (found["per_sample"] >= found["after_mean"] - 1e-7).all()
    assert (found["per_sample"] > found["after_mean"] + 1e-4).any()


def test_batch_size_does_not_matter(tiny):
    instances = make_instances("vqa", 5)
    one, three = (
        measure_neuron_effects(tiny.evaluator("vqa", size), instances, instances, HEADS)
        for size in (1, 3)
    )
    pd.testing.assert_frame_equal(one, three, atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_are_float32_in_half_precision(tiny, dtype):
    """c of a half-precision model: its own z and W, multiplied in float32."""
    adapter = load_model(str(tiny.folder), "llava", dtype, "cpu")
    evaluator = Evaluator(adapter, "vqa", tiny.images, 4)
    instances = make_instances("vqa")
    effects = measure_neuron_effects(evaluator, instances, instances, HEADS[:1])
    directions = target_directions(evaluator, instances, instances)
    with torch.no_grad():
        z = last_token_activations(adapter, evaluator.encode(instances))
        weights = write_in_weights(adapter, directions)
    assert z.dtype == weights.dtype == torch.float32
    total = np.zeros((2, 24))
    for row in range(3):
        for layer in range(2):
            columns = adapter.layers[layer].mlp.down_proj.weight.double()
            for neuron in range(24):
                product = (columns[:, neuron] @ directions[row].double()).item()
                total[layer, neuron] += z[row, layer, neuron].item() * product
    np.testing.assert_allclose(
        grid_of(effects, -1, -1, "contribution"), total / 3, rtol=1e-4, atol=1e-6
    )


def test_retrieval_looks_at_positives_only(tiny):
    """Other negatives change nothing."""
    instances = make_instances("retrieval")
    fewer = [
        type(item)(
            **{
                **vars(item),
                "candidates": (item.candidates[item.positive_index], "another"),
                "positive_index": 0,
            }
        )
        for item in instances
    ]
    frames = [
        measure_neuron_effects(tiny.evaluator("retrieval"), sample, sample, HEADS[:1])
        for sample in (instances, fewer)
    ]
    pd.testing.assert_frame_equal(*frames)


def test_unknown_clip(tiny):
    instances = make_instances("vqa")
    with pytest.raises(ValueError, match="known: per_sample, after_mean"):
        measure_neuron_effects(tiny.evaluator("vqa"), instances, instances, HEADS, clip="never")


def effects_frame() -> pd.DataFrame:
    """Two layers of two neurons; heads 0.0 and 1.1 (of which layer 0 is not stored)."""
    rows = [
        (-1, -1, 0, 0, 0.5, 0.0),
        (-1, -1, 0, 1, -2.0, 0.0),
        (-1, -1, 1, 0, 1.0, 0.0),
        (-1, -1, 1, 1, 0.0, 0.0),
        (0, 0, 0, 0, 0.0, 1.0),
        (0, 0, 0, 1, 0.0, 2.0),
        (0, 0, 1, 0, 0.0, 3.0),
        (0, 0, 1, 1, 0.0, 4.0),
        (1, 1, 1, 0, 0.0, 10.0),
        (1, 1, 1, 1, 0.0, 20.0),
    ]
    return pd.DataFrame(rows, columns=NEURON_EFFECTS.names)


def test_score_is_the_weighted_mean_over_positive_heads():
    weights = {(0, 0): 0.3, (1, 1): 0.1}
    expected = [[0.3 * 1 / 0.4, 0.3 * 2 / 0.4], [(0.9 + 1) / 0.4, (1.2 + 2) / 0.4]]
    np.testing.assert_allclose(score_neurons(effects_frame(), weights), expected)
    # w = max(S, 0): a head with a negative score or none counts neither above nor below the line
    for negative in (-0.5, 0.0):
        found = score_neurons(effects_frame(), {(0, 0): 0.3, (1, 1): negative})
        np.testing.assert_allclose(found, [[1, 2], [3, 4]])


@pytest.mark.parametrize("weights", [{}, {(0, 0): 0.0, (1, 1): -0.2}])
def test_no_positive_head_is_an_error(weights):
    with pytest.raises(ValueError, match="none of the selected heads has a positive score"):
        score_neurons(effects_frame(), weights)


def test_head_without_effects_is_an_error():
    with pytest.raises(ValueError, match=r"head 1\.0"):
        score_neurons(effects_frame(), {(1, 0): 1.0})


def test_base_contributions():
    np.testing.assert_array_equal(base_contributions(effects_frame()), [[0.5, -2.0], [1.0, 0.0]])


def test_activations_that_are_not_finite_stop_it(tiny):
    def spoil(_module, args):
        return (args[0] * float("inf"),)

    handle = tiny.adapter.layers[0].mlp.down_proj.register_forward_pre_hook(spoil)
    instances = make_instances("vqa", 2)
    try:
        with pytest.raises(FloatingPointError, match=r"float32.*vqa/0, vqa/1; vqa/0 breaks behind"):
            measure_neuron_effects(
                Evaluator(tiny.adapter, "vqa", tiny.images, 2), instances, instances, [(0, 1)]
            )
    finally:
        handle.remove()
