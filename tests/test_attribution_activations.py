"""Activation statistics against loops over single, unpadded prompts."""

import numpy as np
import pytest
import torch
from model_support import make_instances, stock_logits

from hones_core import artifacts
from hones_core.attribution.activations import masked_mean, measure_activations
from hones_core.schemas.neurons import ACTIVATION_STATISTICS

pytest_plugins = ["model_fixtures"]


def activations_by_hand(tiny, evaluator, item, activation) -> np.ndarray:
    """z or gate of one prompt, [L, T, m]."""
    values = []

    def record(module, args, output):
        gate = torch.nn.functional.silu(module.gate_proj(args[0]))
        values.append((gate if activation == "gate" else gate * module.up_proj(args[0]))[0])

    handles = [layer.mlp.register_forward_hook(record) for layer in tiny.layers]
    stock_logits(tiny, item.image, evaluator.text(item))
    for handle in handles:
        handle.remove()
    return torch.stack(values).detach().numpy().astype(np.float64)


@pytest.mark.parametrize("aggregate", ["mean", "last"])
@pytest.mark.parametrize("activation", ["z", "gate"])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_statistics(tiny, tmp_path, aggregate, activation, threshold):
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa", 2)
    found = measure_activations(evaluator, instances, aggregate, activation, threshold)
    artifacts.write(tmp_path / "statistics.parquet", found, ACTIVATION_STATISTICS, {})
    samples = []
    for item in instances:
        values = activations_by_hand(tiny, evaluator, item, activation)
        samples.append(values.mean(1) if aggregate == "mean" else values[:, -1])
    assert len({values.shape for values in samples}) == 1
    for row in found.itertuples():
        of_neuron = [sample[row.layer, row.neuron] for sample in samples]
        assert row.mean_activation == pytest.approx(sum(of_neuron) / 3, abs=1e-5)
        assert row.mean_absolute == pytest.approx(sum(map(abs, of_neuron)) / 3, abs=1e-5)
        assert row.active_fraction == sum(value > threshold for value in of_neuron) / 3
        assert row.n_samples == 3
    assert len(found) == 2 * 24
    assert 0 < found["active_fraction"].mean() < 1


def test_retrieval_reads_the_positive_prompt(tiny):
    instances = make_instances("retrieval")
    evaluator = tiny.evaluator("retrieval")
    found = measure_activations(evaluator, instances)["mean_activation"].to_numpy()
    means = [activations_by_hand(tiny, evaluator, item, "z").mean(1) for item in instances]
    np.testing.assert_allclose(found, np.mean(means, axis=0).ravel(), atol=1e-5)


def test_masked_mean_leaves_padding_out():
    z = torch.randn(2, 4, 3)
    mask = torch.tensor([[0, 0, 1, 1], [0, 1, 1, 1]])
    z[0, :2] = 1e6
    expected = torch.stack([z[0, 2:].mean(0), z[1, 1:].mean(0)])
    torch.testing.assert_close(masked_mean(z, mask), expected)
    assert masked_mean(z.half().clamp(-10, 10), mask).dtype == torch.float32


def test_refusals(tiny):
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    with pytest.raises(ValueError, match="unknown aggregate 'max'"):
        measure_activations(evaluator, instances, aggregate="max")
    with pytest.raises(ValueError, match="unknown activation 'up'"):
        measure_activations(evaluator, instances, activation="up")
