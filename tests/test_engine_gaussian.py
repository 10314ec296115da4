"""Noise at a head: its size, and that it depends on the sample and the head alone."""

import numpy as np
import pandas as pd
import pytest
import torch
from model_support import make_instances

from hones_core.attribution.neuron_effects import gaussian_noise, measure_neuron_effects
from hones_core.benchmark.seeding import seeded_key
from hones_core.engine.interventions import GaussianHead, applied, noisy_head

pytest_plugins = ["model_fixtures"]

HEADS = [(0, 1), (1, 2)]


def outputs(adapter, layer, batch, *interventions) -> torch.Tensor:
    """What o_proj of a layer reads, [B, T, H * d_h], with the interventions in force."""
    seen = []
    with torch.no_grad(), applied(adapter, *interventions):
        handle = adapter.layers[layer].self_attn.o_proj.register_forward_pre_hook(
            lambda _, args: seen.append(args[0].clone())
        )
        adapter.hidden_states(batch)
        handle.remove()
    return seen[0]


def test_noise_has_the_heads_own_standard_deviation():
    generator = torch.Generator().manual_seed(0)
    heads = torch.randn(2, 400, 3 * 16, generator=generator)
    heads[1] *= 7
    heads += torch.linspace(-2, 2, 48)  # components with other means: part of the deviation
    mask = torch.ones(2, 400, dtype=torch.long)
    mask[0, :150] = 0
    heads[0, :150] = 1e6  # padding, which must not count
    before = heads.clone()
    found = noisy_head(heads, 1, 3, mask, [11, 12])
    assert torch.equal(heads, before)  # a new tensor
    changed = found != heads
    assert not changed[..., :16].any() and not changed[..., 32:].any()
    assert not changed[0, :150].any()
    for row, start, seed in ((0, 150, 11), (1, 0, 12)):
        own = heads[row, start:, 16:32]
        noise = found[row, start:, 16:32] - own
        deviation = np.std(own.numpy().astype(np.float64))
        assert noise.std().item() == pytest.approx(deviation, rel=0.03)
        assert noise.mean().abs().item() < 0.05 * deviation
        drawn = torch.randn(400 - start, 16, generator=torch.Generator().manual_seed(seed))
        torch.testing.assert_close(noise, drawn * float(deviation), atol=1e-4, rtol=1e-4)


def test_noise_in_half_precision_keeps_its_type():
    heads = torch.randn(1, 5, 8).half()
    found = noisy_head(heads, 0, 2, torch.ones(1, 5), [0])
    assert found.dtype == torch.float16
    assert (found[..., :4] != heads[..., :4]).all()


@pytest.mark.parametrize("positions", ["all", "last"])
def test_noise_does_not_depend_on_the_rest_of_the_batch(grouped, positions):
    """Alone, or padded beside a longer prompt: the same noise at the same tokens."""
    adapter, evaluator = grouped.adapter, grouped.evaluator("vqa")
    instances = make_instances("vqa")
    found = {}
    for name, chosen in {"together": instances, "alone": instances[:1]}.items():
        batch = evaluator.encode(chosen)
        samples = [item.instance_id for item in chosen]
        noise = GaussianHead(1, 2, batch.attention_mask, samples, 5, positions)
        base, noisy = outputs(adapter, 1, batch), outputs(adapter, 1, batch, noise)
        real = batch.attention_mask[0].bool()
        found[name] = (noisy - base)[0, real]
        width = grouped.adapter.head_dim
        assert (found[name][..., : 2 * width] == 0).all()
        assert (found[name][..., 3 * width :] == 0).all()
        changed = (found[name] != 0).any(-1)
        assert changed[-1] and (
            changed[:-1].all() if positions == "all" else not changed[:-1].any()
        )
    assert len(found["alone"]) < batch.attention_mask.shape[1] + 100
    torch.testing.assert_close(found["alone"], found["together"], atol=1e-5, rtol=1e-4)


def test_noise_differs_by_sample_head_and_seed(grouped):
    evaluator = grouped.evaluator("vqa")
    items = make_instances("vqa")[:1]
    with torch.no_grad():
        batch = evaluator.encode(items)

    def noise_of(layer, head, sample, seed):
        noise = GaussianHead(layer, head, batch.attention_mask, [sample], seed)
        base = outputs(grouped.adapter, layer, batch)
        changed = outputs(grouped.adapter, layer, batch, noise) - base
        own = changed.unflatten(-1, (4, -1))[0, :, head]
        return own / base.unflatten(-1, (4, -1))[0, :, head].std(correction=0)

    first = noise_of(1, 2, "vqa/0", 0)
    torch.testing.assert_close(noise_of(1, 2, "vqa/0", 0), first)
    for other in ((1, 1, "vqa/0", 0), (2, 2, "vqa/0", 0), (1, 2, "vqa/1", 0), (1, 2, "vqa/0", 1)):
        assert (noise_of(*other) - first).abs().max() > 0.5
    key = seeded_key(0, "head noise", "vqa/0", 1, 2)
    drawn = torch.randn(first.shape, generator=torch.Generator().manual_seed(key))
    torch.testing.assert_close(first, drawn, atol=1e-4, rtol=1e-3)


def test_noise_is_for_whole_prompts(grouped):
    evaluator = grouped.evaluator("vqa")
    with torch.no_grad():
        batch = evaluator.encode(make_instances("vqa"))
    with (
        pytest.raises(ValueError, match="drawn for whole prompts"),
        applied(grouped.adapter, GaussianHead(0, 0, batch.attention_mask[:, :-1], ["a"] * 3)),
    ):
        grouped.adapter.hidden_states(batch)
    with pytest.raises(ValueError, match="'all', 'last'"):
        GaussianHead(0, 0, batch.attention_mask, ["a"] * 3, positions="first")


def test_effects_of_noisy_heads(tiny):
    """E[c] and E[Δc] under noise, from one sample at a time."""
    instances = make_instances("vqa", 5)
    found = [
        measure_neuron_effects(
            tiny.evaluator("vqa", size),
            instances,
            instances,
            HEADS,
            disruption=gaussian_noise("all", 3),
        )
        for size in (1, 4)
    ]
    pd.testing.assert_frame_equal(*found, atol=1e-5, rtol=0)
    replaced = measure_neuron_effects(tiny.evaluator("vqa"), instances, instances, HEADS)
    base = found[0].query("head_layer == -1")["contribution"].to_numpy()
    np.testing.assert_allclose(base, replaced.query("head_layer == -1")["contribution"], atol=1e-6)
    for layer, head in HEADS:
        noisy, mean = (
            frame.query(f"head_layer == {layer} and head == {head}")["drop"].to_numpy()
            for frame in (found[0], replaced)
        )
        assert (noisy >= 0).all() and noisy.max() > 1e-3
        assert np.abs(noisy - mean).max() > 1e-3
