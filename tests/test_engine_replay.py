"""Replay from a layer against the whole model with the hooks, one prompt at a time."""

import pytest
import torch
from engine_support import Jointly, random_ids, random_prompts, whole, whole_states
from model_support import make_instances
from transformers import DynamicCache

from hones_core.engine.activations import LastTokenActivations, last_token_activations
from hones_core.engine.at_once import Limits, together
from hones_core.engine.interventions import (
    MeanReplaceHead,
    ScaleNeurons,
    ZeroNeurons,
    applied,
    recorded_activations,
)
from hones_core.engine.replay import replay, trace
from hones_core.engine.segments import (
    answer_segment,
    candidate_segment,
    grow,
    prefix_segment,
)

pytest_plugins = ["model_fixtures"]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def at_layer(layer: int) -> list:
    """Interventions whose lowest layer this is; the last ones change several places in it."""
    index, scales = torch.tensor([3, 11, 20]), torch.tensor([2.0, -1.5, 0.5])
    scale = ScaleNeurons({layer: (index, scales)})
    return [
        MeanReplaceHead(layer, 0),
        MeanReplaceHead(layer, 3, "last"),
        ZeroNeurons({layer: index}),
        scale,
        Jointly((MeanReplaceHead(layer, 1), MeanReplaceHead(layer, 2), scale)),
        Jointly((scale, MeanReplaceHead(layer, 2, "last"))),
    ]


def across(n_layers: int) -> list:
    """Interventions in several layers, with different lowest ones."""
    index = torch.tensor([0, 7])
    top = n_layers - 1
    everywhere = ZeroNeurons({layer: index + layer for layer in range(n_layers)})
    heads = Jointly(tuple(MeanReplaceHead(layer, layer) for layer in range(n_layers)))
    mixed = Jointly((MeanReplaceHead(top, 3, "last"), ZeroNeurons({0: index})))
    return [everywhere, MeanReplaceHead(top, 1), heads, mixed, ZeroNeurons({top: index})]


def groups_of(adapter) -> list[list]:
    """Interventions that are replayed together: of one layer, or of different ones."""
    return [*(at_layer(layer) for layer in range(adapter.n_layers)), across(adapter.n_layers)]


def changes_of(adapter, interventions) -> list:
    return [list(one.changes(adapter)) for one in interventions]


def test_answers_of_every_copy(family, generator):
    """Final states at all reads, whichever layer the replay starts from."""
    adapter = family.adapter
    prompts = random_prompts(adapter, generator, [8, 6])
    ids = random_ids(adapter, generator, 6)
    rows = [[ids[:3], ids[:5]], [[ids[4]], ids[1:3]]]
    trees = [grow(sequences) for sequences in rows]
    with torch.no_grad():
        traced = trace(adapter, [answer_segment(adapter, prompts, trees)])
        for interventions in groups_of(adapter):
            run = replay(adapter, traced, changes_of(adapter, interventions))
            assert run.copies == len(interventions)
            found = run.final[0].unflatten(0, (run.copies, -1))
            for copy, intervention in enumerate(interventions):
                for row, (sequences, tree) in enumerate(zip(rows, trees, strict=True)):
                    for sequence, path in zip(sequences, tree.paths, strict=True):
                        expected = whole_states(adapter, prompts, row, sequence, intervention)
                        states = found[copy, row, [0, *(1 + node for node in path)]]
                        torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
                        base = whole_states(adapter, prompts, row, sequence)
                        assert not torch.allclose(expected[-1], base[-1], atol=1e-3)


def test_candidates_of_every_copy(family, generator):
    """Behind replayed prefixes; 'last' is the end of a candidate, which no longer one passes."""
    adapter = family.adapter
    prefixes = random_prompts(adapter, generator, [6, 9])
    ids = random_ids(adapter, generator, 6)
    rows, owners = [[ids[:3], ids[:2]], [ids[2:4]], [ids[:1], ids[:3], ids[:3]]], [1, 0, 1]
    trees = [grow(sequences, own_ends=True) for sequences in rows]
    segment = candidate_segment(adapter, prefixes, trees, owners)
    columns = torch.arange(segment.real.shape[1]).expand(len(rows), -1)
    with torch.no_grad():
        segments = [prefix_segment(adapter, prefixes), segment.reading(columns)]
        traced = trace(adapter, segments)
        for interventions in groups_of(adapter):
            run = replay(adapter, traced, changes_of(adapter, interventions))
            found = run.final[1].unflatten(0, (run.copies, -1))
            for copy, intervention in enumerate(interventions):
                for row, (sequences, tree) in enumerate(zip(rows, trees, strict=True)):
                    for sequence, path in zip(sequences, tree.paths, strict=True):
                        owner = owners[row]
                        expected = whole_states(
                            adapter, prefixes, owner, sequence, intervention, answering=1
                        )
                        torch.testing.assert_close(
                            found[copy, row, path[-1]], expected[-1], atol=1e-5, rtol=1e-5
                        )


def test_keys_and_values_of_every_copy(family, generator):
    """What decoding goes on from; at and below the lowest changed layer it is the trace's."""
    adapter = family.adapter
    prompts = random_prompts(adapter, generator, [8, 6])
    width = prompts.input_ids.shape[1]
    sequences = [random_ids(adapter, generator, 3), random_ids(adapter, generator, 2)]
    trees = [grow([sequence]) for sequence in sequences]
    with torch.no_grad():
        traced = trace(adapter, [answer_segment(adapter, prompts, trees)])
        for interventions in groups_of(adapter):
            run = replay(adapter, traced, changes_of(adapter, interventions))
            lowest = {c.layer for changes in changes_of(adapter, interventions) for c in changes}
            assert run.first == min(lowest)
            assert sorted(run.keys_values) == list(range(run.first + 1, adapter.n_layers))
            for copy, intervention in enumerate(interventions):
                for row, sequence in enumerate(sequences):
                    cache = DynamicCache()
                    batch = whole(adapter, prompts, row, sequence)
                    marked = torch.zeros_like(batch.input_ids, dtype=torch.bool)
                    marked[:, -len(sequence) - 1 :] = True
                    with applied(adapter, intervention):
                        adapter.hidden_states(batch, marked, cache)
                    real = [*prompts.attention_mask[row].nonzero().squeeze(1).tolist()]
                    real += [width + node for node in trees[row].paths[0]]
                    for layer in range(adapter.n_layers):
                        if layer in run.keys_values:
                            found, at = run.keys_values[layer][0], copy * 2 + row
                        else:
                            found, at = traced.layers[layer][0].keys_values, row
                        expected = cache.layers[layer].keys, cache.layers[layer].values
                        for part, own in zip(found, expected, strict=True):
                            torch.testing.assert_close(
                                part[at][:, real], own[0], atol=1e-5, rtol=1e-5
                            )


def test_labels_that_are_replayed_together(grouped):
    """Each once, the same lowest layer, no more than the copies; the unchanged model alone."""
    interventions = {
        f"{layer} {place}": one for layer in range(3) for place, one in enumerate(at_layer(layer))
    }
    interventions |= {f"across {place}": one for place, one in enumerate(across(3))}
    changes = {label: list(one.changes(grouped.adapter)) for label, one in interventions.items()}
    changes |= {"base": [], "nothing": []}
    for copies in (1, 4, 100):
        groups = list(together(changes, copies))
        assert sorted(label for group in groups for label in group) == sorted(changes)
        for group in groups:
            lowest = {min((c.layer for c in changes[label]), default=None) for label in group}
            assert len(lowest) == 1
            assert len(group) <= (1 if lowest == {None} else copies)
    assert len(list(together(changes, 100))) == 3 + 2


@pytest.mark.parametrize("copies", [1, 4])
def test_last_token_activations_of_every_copy(family, copies):
    """z as the changed model's down_proj reads it, on both engines."""
    instances = make_instances("vqa")
    adapter = family.adapter
    interventions = dict(enumerate(one for group in groups_of(adapter) for one in group))
    found = {}
    with torch.no_grad():
        for engine in ("fast", "plain"):
            limits = Limits(copies=copies)
            evaluator = family.evaluator("vqa", engine=engine, limits=limits)
            activations = LastTokenActivations(evaluator, instances)
            found[engine] = dict(activations.under(interventions)) | {"base": activations.base}
        for label, z in found["plain"].items():
            torch.testing.assert_close(found["fast"][label], z, atol=1e-5, rtol=1e-5)
        z = found["fast"][2]  # neurons 3, 11 and 20 of layer 0 at zero
        assert (z[:, 0, [3, 11, 20]] == 0).all()
        batch = family.evaluator("vqa").encode(instances)
        assert torch.equal(found["plain"]["base"], last_token_activations(adapter, batch))


def test_activations_are_recorded_as_changed_whichever_hook_comes_first(grouped):
    adapter, zeroed = grouped.adapter, ZeroNeurons({1: torch.tensor([4])})
    batch = grouped.evaluator("vqa").encode(make_instances("vqa"))
    with torch.no_grad():
        with recorded_activations(adapter, lambda z: z) as before, applied(adapter, zeroed):
            adapter.hidden_states(batch)
        with applied(adapter, zeroed), recorded_activations(adapter, lambda z: z) as after:
            adapter.hidden_states(batch)
    assert (before[1][..., 4] == 0).all()
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
