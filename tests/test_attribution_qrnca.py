"""QRNCA: its integral against differences in double precision, what it counts and leaves."""

import copy
from functools import partial

import numpy as np
import pytest
import torch
from model_support import make_instances, stock_last_z, stock_logits
from token_level_support import SHAPE, grid_of, last_logits, target_of
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from hones_core import artifacts
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.attribution.token_level.last_position import first_target_ids
from hones_core.attribution.token_level.qrnca import attributions, measure_qrnca, stands_out
from hones_core.schemas.rankers import QRNCA_SCORES

pytest_plugins = ["model_fixtures"]


def integral_by_differences(double, item, text, layer, neuron, z, target, points) -> float:
    """z_i times Simpson's integral of central differences of p(y_1) along α z; no gradients."""

    def probability(values):
        return last_logits(double, item, text, layer, values).softmax(-1)[target].item()

    step = 1e-4
    unit = torch.zeros_like(z)
    unit[neuron] = step
    slopes = [
        (probability(alpha * z + unit) - probability(alpha * z - unit)) / (2 * step)
        for alpha in np.linspace(0, 1, points)
    ]
    weights = np.array([1, *[4, 2] * ((points - 3) // 2), 4, 1]) / (3 * (points - 1))
    return z[neuron].item() * float(weights @ slopes)


def double_norm(norm, x):
    return norm.weight * x / (x.square().mean(-1, keepdim=True) + norm.variance_epsilon).sqrt()


class Double:
    """The stock model in double precision, for differences that float32 would round away."""

    def __init__(self, tiny):
        self.stock = copy.deepcopy(tiny.stock).double()
        self.tiny = tiny
        self.layers = self.stock.model.language_model.layers
        for module in self.stock.modules():
            if type(module) is LlamaRMSNorm:  # which would compute in float32
                module.forward = partial(double_norm, module)

    def inputs(self, image, text):
        inputs = self.tiny.inputs(image, text)
        return {**inputs, "pixel_values": inputs["pixel_values"].double()}


@pytest.mark.parametrize("layer", [0, 1])
def test_integrated_gradients_are_the_integral(tiny, layer):
    item = make_instances("vqa")[2]
    evaluator = tiny.evaluator("vqa")
    double, text = Double(tiny), evaluator.text(item)
    target = target_of(tiny, evaluator, item)
    with torch.no_grad():
        batch = evaluator.encode([item])
    found = attributions(tiny.adapter, batch, torch.tensor([target]), 200, 64)[0, layer]
    z = stock_last_z(double, item.image, text)[layer]
    neurons = [*found.abs().topk(2).indices.tolist(), 0]
    for neuron in neurons:
        expected = integral_by_differences(double, item, text, layer, neuron, z, target, 41)
        assert found[neuron].item() == pytest.approx(expected, rel=2e-3, abs=1e-8)
    assert found.abs().max() > 1e-5


def test_integrated_gradients_are_complete(tiny):
    """Over a layer's neurons they add up to p(y_1) less p(y_1) with the layer's z at 0."""
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa")
    targets = first_target_ids(evaluator, instances)
    with torch.no_grad():
        batch = evaluator.encode(instances)
    found = attributions(tiny.adapter, batch, targets, 200, 64)
    for row, item in enumerate(instances):
        text = evaluator.text(item)
        whole = stock_logits(tiny, item.image, text)[-1].softmax(-1)[targets[row]]
        for layer in range(2):
            nothing = last_logits(tiny, item, text, layer, torch.zeros(24))
            change = whole - nothing.softmax(-1)[targets[row]]
            total = found[row, layer].sum().item()
            assert total == pytest.approx(change.item(), rel=1e-3, abs=1e-7)


def test_qrnca_counts_and_sums(tiny, tmp_path):
    instances = make_instances("vqa", 5)
    evaluator = tiny.evaluator("vqa", 2)
    found = measure_qrnca(evaluator, instances, steps=6, threshold=0.3)
    artifacts.write(tmp_path / "qrnca.parquet", found, QRNCA_SCORES, {})
    occurrences, above, total = np.zeros((3, *SHAPE))
    for item in instances:
        with torch.no_grad():
            batch = evaluator.encode([item])
        targets = first_target_ids(evaluator, [item])
        values = attributions(tiny.adapter, batch, targets, 6, 100)[0].numpy()
        total += values / 5
        for layer in range(2):
            for neuron in range(24):
                if values[layer, neuron] >= 0.3 * values.max():
                    occurrences[layer, neuron] += 1
                    above[layer, neuron] += values[layer, neuron] / 5
    np.testing.assert_array_equal(grid_of(found, "occurrences"), occurrences)
    np.testing.assert_allclose(grid_of(found, "attribution"), total, atol=1e-6)
    np.testing.assert_allclose(grid_of(found, "attribution_above"), above, atol=1e-6)
    assert occurrences.max() > 1 and (occurrences == 0).any()
    assert set(found["n_samples"]) == {5}


def test_nothing_stands_out_where_nothing_is_positive():
    values = torch.tensor([[[1.0, 0.2, 0.19]], [[-1.0, -2.0, -0.5]], [[0.0, 0.0, 0.0]]])
    expected = [[[True, True, False]], [[False] * 3], [[False] * 3]]
    assert stands_out(values, 0.2).tolist() == expected


def test_gradients_leave_no_trace(tiny):
    """No hook, no gradient on a weight, the same outputs bit by bit."""
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa")
    with torch.no_grad():
        batch = evaluator.encode(instances)
        before = tiny.adapter.hidden_states(batch)
    measure_qrnca(evaluator, instances, steps=2)
    measure_group_patching(evaluator, instances, 2)
    with torch.no_grad():
        assert torch.equal(tiny.adapter.hidden_states(batch), before)
    assert all(parameter.grad is None for parameter in tiny.adapter.model.parameters())
    assert not any(m._forward_pre_hooks for m in tiny.adapter.model.modules())
