"""Interventions: tensor functions against loops, and hooks that leave no trace."""

from dataclasses import replace

import pytest
import torch
from model_support import head_edit, make_instances, mean_of_others, outcomes_of

from hones_core.engine.interventions import (
    MeanReplaceHead,
    ScaleNeurons,
    ZeroNeurons,
    applied,
    applied_by_rows,
    mean_replace_head,
    recorded_activations,
    scale_neurons,
    zero_neurons,
)

pytest_plugins = ["model_fixtures"]


@pytest.fixture
def batch(grouped):
    with torch.no_grad():
        return grouped.evaluator("vqa").encode(make_instances("vqa"))


def hooks_of(adapter) -> int:
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks)
        for module in adapter.model.modules()
    )


@pytest.mark.parametrize(("n_heads", "width"), [(2, 3), (4, 8), (7, 1)])
def test_mean_replace_head_in_loops(n_heads, width):
    heads = torch.randn(2, 3, n_heads * width)
    for head in range(n_heads):
        expected = heads.clone()
        for row in range(2):
            for position in range(3):
                for d in range(width):
                    others = [
                        heads[row, position, k * width + d].item()
                        for k in range(n_heads)
                        if k != head
                    ]
                    expected[row, position, head * width + d] = sum(others) / (n_heads - 1)
        before = heads.clone()
        torch.testing.assert_close(mean_replace_head(heads, head, n_heads), expected)
        assert torch.equal(heads, before)  # a new tensor


def test_mean_replace_head_in_half_precision_sums_in_float32():
    heads = torch.tensor([[2048.0, 1.0, 1.0, 1.0, 1.0, 0.0]]).half()
    assert mean_replace_head(heads, 5, 6)[0, 5] == torch.tensor(2052 / 5).half()


def test_one_head_cannot_be_replaced_by_the_mean_of_the_others():
    with pytest.raises(ValueError, match="one head has no other heads"):
        mean_replace_head(torch.randn(1, 2, 8), 0, 1)


def test_unknown_positions():
    with pytest.raises(ValueError, match="'all', 'last'"):
        MeanReplaceHead(0, 0, "first")


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_heads_and_layers_that_do_not_exist(grouped, engine):
    """Neither from the end, as an index may count, nor behind it."""
    evaluator = grouped.evaluator("vqa", engine=engine)
    prepared = evaluator.prepare(make_instances("vqa"))
    with pytest.raises(ValueError, match="no head -1"):
        MeanReplaceHead(0, -1)
    with pytest.raises(ValueError, match="no layer -1"):
        outcomes_of(evaluator, prepared, MeanReplaceHead(-1, 0))
    with pytest.raises(ValueError, match="no layer -1"):
        outcomes_of(evaluator, prepared, ZeroNeurons.of([(-1, 0), (1, 0)]))
    for missing in (MeanReplaceHead(3, 0), MeanReplaceHead(1, 4), ZeroNeurons.of([(0, 24)])):
        with pytest.raises(IndexError):
            outcomes_of(evaluator, prepared, missing)


def test_zero_and_scale_neurons_in_loops():
    z = torch.randn(2, 3, 6)
    index, scales = torch.tensor([4, 1]), torch.tensor([0.5, -1.25])
    zeroed, scaled = z.clone(), z.clone()
    for row in range(2):
        for position in range(3):
            for neuron, scale in zip(index.tolist(), scales.tolist(), strict=True):
                zeroed[row, position, neuron] = 0
                scaled[row, position, neuron] = (1 + scale) * z[row, position, neuron]
    assert torch.equal(zero_neurons(z, index), zeroed)
    torch.testing.assert_close(scale_neurons(z, index, scales), scaled)


def test_small_scales_count_in_half_precision():
    scaled = scale_neurons(torch.tensor([1.5]).half(), torch.tensor([0]), torch.tensor([4e-4]))
    assert scaled.dtype == torch.float16
    assert scaled.item() == torch.tensor(1.5 * 1.0004).half().item()
    assert scaled.item() > 1.5  # 1.0004 itself rounds to 1 in float16


def test_zero_scales_change_no_bit(grouped, batch):
    adapter = grouped.adapter
    with torch.no_grad():
        before = adapter.hidden_states(batch)
        bank = {layer: (torch.arange(24), torch.zeros(24)) for layer in range(3)}
        with applied(adapter, ScaleNeurons(bank)):
            assert torch.equal(adapter.hidden_states(batch), before)


def test_heads_are_query_heads_under_grouped_query_attention(grouped, batch):
    """Only the one head's slice of the input of o_proj changes, in that layer alone."""
    adapter = grouped.adapter
    seen = []
    handles = [
        layer.self_attn.o_proj.register_forward_pre_hook(
            lambda _, args: seen.append(args[0].clone())
        )
        for layer in adapter.layers
    ]
    try:
        with torch.no_grad():
            adapter.hidden_states(batch)
            base, seen[:] = list(seen), []
            for handle in handles:
                handle.remove()
            with applied(adapter, MeanReplaceHead(1, 2)):
                handle = adapter.layers[1].self_attn.o_proj.register_forward_pre_hook(
                    lambda _, args: seen.append(args[0].clone())
                )
                handles.append(handle)
                adapter.hidden_states(batch)
    finally:
        for handle in handles:
            handle.remove()
    expected = base[1].clone()
    expected[..., 16:24] = mean_of_others(base[1], 2, 4)
    torch.testing.assert_close(seen[0], expected)
    assert not torch.allclose(seen[0], base[1])


def test_last_position_of_a_prefill(grouped, batch):
    adapter = grouped.adapter
    with torch.no_grad():
        with applied(adapter, MeanReplaceHead(1, 2, "last")):
            found = adapter.hidden_states(batch)
        handle = adapter.layers[1].self_attn.o_proj.register_forward_pre_hook(
            lambda _, args: (head_edit(2, 4, start=-1)(args[0].clone()),)
        )
        expected = adapter.hidden_states(batch)
        handle.remove()
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(found, adapter.hidden_states(batch))


def test_marked_answer_positions(grouped, batch):
    """Where answers begin at different columns, exactly the marked positions change."""
    adapter = grouped.adapter
    mask = torch.zeros_like(batch.attention_mask, dtype=torch.bool)
    mask[0, -1:] = mask[1, -3:] = mask[2, -5] = True
    changed = []
    handle = adapter.layers[0].self_attn.o_proj.register_forward_pre_hook(
        lambda _, args: changed.append(args[0])
    )
    with torch.no_grad():
        adapter.hidden_states(batch)
        handle.remove()
        with applied(adapter, MeanReplaceHead(0, 1, "last")):
            handle = adapter.layers[0].self_attn.o_proj.register_forward_pre_hook(
                lambda _, args: changed.append(args[0])
            )
            adapter.hidden_states(batch, mask)
            handle.remove()
    base, found = changed
    assert torch.equal((found != base).any(-1), mask)
    assert adapter.answer_positions is None


def test_rows_of_one_batch_under_different_interventions(grouped, batch):
    """Shares 1, 0 and 2 of six rows, whose answers are marked at columns of their own."""
    adapter = grouped.adapter
    one, two = MeanReplaceHead(1, 2, "last"), MeanReplaceHead(1, 0, "last")
    groups = [(list(one.changes(adapter)), 1), ([], 0), (list(two.changes(adapter)), 2)]
    doubled = replace(
        batch,
        embeddings=torch.cat([batch.embeddings] * 2),
        attention_mask=torch.cat([batch.attention_mask] * 2),
        positions=torch.cat([batch.positions] * 2, 1),
    )
    width = batch.input_ids.shape[1]
    marked = torch.arange(width) >= width - torch.tensor([1, 3, 2, 5, 1, 4])[:, None]
    with torch.no_grad():
        with applied_by_rows(adapter, groups):
            found = adapter.hidden_states(doubled, marked)
        for rows, intervention in ((slice(0, 2), one), (slice(2, 6), two)):
            with applied(adapter, intervention):
                expected = adapter.hidden_states(doubled, marked)[rows]
            torch.testing.assert_close(found[rows], expected)
        with (
            applied_by_rows(adapter, [(groups[0][0], 1), ([], 3)]),
            pytest.raises(ValueError, match="6 rows cannot be shared among 4"),
        ):
            adapter.hidden_states(doubled, marked)
    assert adapter.answer_positions is None


def test_interventions_combine(grouped, batch):
    """Zeroing and scaling in force together: a scaled zero is zero."""
    adapter = grouped.adapter
    zero = ZeroNeurons.of([(1, 3), (1, 5), (2, 0)])
    scale = ScaleNeurons({1: (torch.tensor([3, 4]), torch.tensor([9.0, 1.0]))})
    with torch.no_grad():
        with recorded_activations(adapter, lambda z: z[:, -1]) as base:
            adapter.hidden_states(batch)
        with applied(adapter, zero, scale), recorded_activations(adapter, lambda z: z) as records:
            adapter.hidden_states(batch)
    assert (records[1][..., [3, 5]] == 0).all()
    assert (records[2][..., 0] == 0).all()
    torch.testing.assert_close(records[1][:, -1, 4], 2 * base[1][:, 4])


@pytest.mark.parametrize(
    "intervention",
    [MeanReplaceHead(0, 1), MeanReplaceHead(2, 0, "last"), ZeroNeurons.of([(0, 1), (2, 5)])],
)
def test_base_outputs_keep_every_bit_between_interventions(grouped, batch, intervention):
    adapter = grouped.adapter
    hooks = hooks_of(adapter)
    with torch.no_grad():
        before = adapter.hidden_states(batch)
        with applied(adapter, intervention):
            assert not torch.equal(adapter.hidden_states(batch), before)
        assert torch.equal(adapter.hidden_states(batch), before)
    assert hooks_of(adapter) == hooks


class Interrupted(Exception):
    pass


def test_hooks_are_removed_after_an_exception(grouped, batch):
    adapter = grouped.adapter
    hooks = hooks_of(adapter)
    interventions = MeanReplaceHead(0, 0), ZeroNeurons.of([(1, 1)])
    with pytest.raises(Interrupted), applied(adapter, *interventions):
        assert hooks_of(adapter) == hooks + 2
        raise Interrupted
    assert hooks_of(adapter) == hooks
    for source in ("z", "gate"):
        with (
            pytest.raises(Interrupted),
            recorded_activations(adapter, lambda z: z, source),
        ):
            assert hooks_of(adapter) == hooks + 3
            raise Interrupted
        assert hooks_of(adapter) == hooks


def test_hooks_are_removed_when_the_forward_pass_or_a_registration_fails(grouped, batch):
    adapter = grouped.adapter
    hooks = hooks_of(adapter)
    with pytest.raises(IndexError), applied(adapter, ZeroNeurons.of([(0, 99)])):
        adapter.hidden_states(batch, torch.ones(1, dtype=torch.bool))
    with pytest.raises(IndexError), applied(adapter, MeanReplaceHead(0, 0), MeanReplaceHead(9, 0)):
        pass
    assert hooks_of(adapter) == hooks
    assert adapter.answer_positions is None


def test_recorded_activations(grouped, batch):
    """z and the gate, recomputed from each MLP's own input and weights."""
    adapter = grouped.adapter
    inputs = []
    handles = [
        layer.mlp.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
        for layer in adapter.layers
    ]
    with torch.no_grad():
        with recorded_activations(adapter, lambda z: z.clone()) as z:
            adapter.hidden_states(batch)
        for handle in handles:
            handle.remove()
        with recorded_activations(adapter, lambda gate: gate.clone(), "gate") as gates:
            adapter.hidden_states(batch)
        for layer, x, found_z, found_gate in zip(adapter.layers, inputs, z, gates, strict=True):
            pre = layer.mlp.gate_proj(x)
            gate = pre * torch.sigmoid(pre)
            torch.testing.assert_close(found_gate, gate)
            torch.testing.assert_close(found_z, gate * layer.mlp.up_proj(x))
    with (
        pytest.raises(ValueError, match="unknown activation"),
        recorded_activations(adapter, lambda z: z, "up"),
    ):
        pass
