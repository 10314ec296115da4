"""Trees, positions and masks: by their definitions, and packed logits against separate prompts."""

import pytest
import torch
from engine_support import random_ids, random_prompts, whole, whole_states
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core.engine.replay import trace
from hones_core.engine.segments import (
    Segment,
    answer_segment,
    candidate_segment,
    grow,
    prefix_segment,
    prompt_segment,
)

pytest_plugins = ["model_fixtures"]

SEQUENCES = st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=6)


@given(SEQUENCES)
def test_a_tree_spells_its_sequences_and_shares_their_beginnings(sequences):
    tree = grow(sequences)
    beginnings = {tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)}
    assert len(tree.tokens) == len(tree.parents) == len(beginnings)
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert [tree.tokens[node] for node in path] == sequence
        assert [tree.parents[node] for node in path] == [-1, *path][: len(path)]
        assert [tree.depths[node] for node in path] == list(range(len(path)))
    assert all(parent < node for node, parent in enumerate(tree.parents))


@given(SEQUENCES)
def test_own_ends_are_passed_by_no_longer_sequence(sequences):
    tree = grow(sequences, own_ends=True)
    for sequence, path in zip(sequences, tree.paths, strict=True):
        assert [tree.tokens[node] for node in path] == sequence
        for other, other_path in zip(sequences, tree.paths, strict=True):
            if path:
                assert (path[-1] in other_path) == (sequence == other)


@given(SEQUENCES, st.booleans())
def test_ancestors_are_the_nodes_on_the_way(sequences, own_ends):
    tree = grow(sequences, own_ends)
    seen = tree.ancestors()
    ways = {path[n]: set(path[: n + 1]) for path in tree.paths for n in range(len(path))}
    assert seen.shape == (len(tree.tokens), len(tree.tokens))
    for node, way in ways.items():
        assert set(seen[node].nonzero().squeeze(1).tolist()) == way


def forest(adapter, generator, own_ends=False) -> tuple[list, list]:
    """Sequences for three rows, some of which begin alike, and the trees of them."""
    ids = random_ids(adapter, generator, 8)
    rows = [
        [ids[:4], ids[:2], [*ids[:2], *ids[5:8]], [ids[6]]],
        [[ids[3]], [ids[3]]],
        [ids[:1], ids[:5], ids[:5], ids[1:7]],
    ]
    return rows, [grow(sequences, own_ends) for sequences in rows]


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_packed_answers_are_those_of_separate_prompts(family, generator):
    """Every node's state is that of its own prompt and way alone, padded rows and all."""
    adapter = family.adapter
    prompts = random_prompts(adapter, generator, [7, 12, 6])
    rows, trees = forest(adapter, generator)
    with torch.no_grad():
        found = trace(adapter, [answer_segment(adapter, prompts, trees)]).final[0]
    for row, (sequences, tree) in enumerate(zip(rows, trees, strict=True)):
        for sequence, path in zip(sequences, tree.paths, strict=True):
            expected = whole_states(adapter, prompts, row, sequence)
            reads = [0, *(1 + node for node in path)]
            torch.testing.assert_close(found[row, reads], expected, atol=1e-5, rtol=1e-5)


def test_an_empty_tree_leaves_the_prompt(family, generator):
    adapter = family.adapter
    prompts = random_prompts(adapter, generator, [6, 9])
    with torch.no_grad():
        found = trace(adapter, [prompt_segment(adapter, prompts)]).final[0]
    assert found.shape[1] == 1
    for row in range(2):
        torch.testing.assert_close(found[row], whole_states(adapter, prompts, row))


def test_packed_candidates_are_those_of_separate_prompts(family, generator):
    """Rows of candidates behind prefixes of other rows, two of them behind the same."""
    adapter = family.adapter
    prefixes = random_prompts(adapter, generator, [11, 6])
    rows, trees = forest(adapter, generator, own_ends=True)
    owners = [1, 0, 1]
    segment = candidate_segment(adapter, prefixes, trees, owners)
    columns = torch.arange(segment.real.shape[1]).expand(3, -1)
    with torch.no_grad():
        segments = [prefix_segment(adapter, prefixes), segment.reading(columns)]
        traced = trace(adapter, segments)
    assert traced.final[0] is None
    for row, (sequences, tree) in enumerate(zip(rows, trees, strict=True)):
        for sequence, path in zip(sequences, tree.paths, strict=True):
            expected = whole_states(adapter, prefixes, owners[row], sequence)[1:]
            found = traced.final[1][row, path]
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_positions_of_a_tree_are_those_of_separate_prompts(family, generator):
    adapter = family.adapter
    prompts = random_prompts(adapter, generator, [7, 12, 6])
    width = prompts.input_ids.shape[1]
    rows, trees = forest(adapter, generator)
    behind = answer_segment(adapter, prompts, trees).positions
    apart = candidate_segment(adapter, prompts, trees, [0, 1, 2]).positions
    for row, (sequences, tree) in enumerate(zip(rows, trees, strict=True)):
        for sequence, path in zip(sequences, tree.paths, strict=True):
            real = prompts.attention_mask[row].bool()
            expected = whole(adapter, prompts, row, sequence).positions[:, 0]
            assert torch.equal(behind[:, row, :width][:, real], expected[:, : int(real.sum())])
            nodes = expected[:, int(real.sum()) :]
            assert torch.equal(behind[:, row, [width + node for node in path]], nodes)
            assert torch.equal(apart[:, row, path], nodes)


def may_see(prompt, tree, column, other) -> bool:
    """Whether a column of a prompt with its tree behind it sees another, by the rules."""
    width = len(prompt)
    if other == column:
        return True
    if other < width:
        return bool(prompt[other]) and other < column and column < width + len(tree.tokens)
    if column < width + len(tree.tokens) and width <= column:
        return any(
            other - width in path[: path.index(column - width)]
            for path in tree.paths
            if column - width in path
        )
    return False


def test_masks_by_the_rules(tiny, generator):
    adapter = tiny.adapter
    prompts = random_prompts(adapter, generator, [7, 9, 6])
    _, trees = forest(adapter, generator)
    segment = answer_segment(adapter, prompts, trees)
    real = [[1] * len(tree.tokens) for tree in trees]
    for row, tree in enumerate(trees):
        prompt = prompts.attention_mask[row].tolist()
        columns = range(segment.mask.shape[-1])
        end = len(prompt) + len(real[row])
        assert segment.real[row].tolist() == [
            bool(prompt[c]) if c < len(prompt) else c < end for c in columns
        ]
        for column in range(end):
            if not segment.real[row, column]:
                continue
            expected = [may_see(prompt, tree, column, other) for other in columns]
            assert segment.mask[row, 0, column].tolist() == expected
        assert segment.mask[row, 0].any(-1).all()  # padding sees something, or its softmax is NaN
    last = len(prompts.attention_mask[0]) - 1
    expected = segment.real.clone()
    expected[:, :last] = False
    assert torch.equal(segment.answering, expected)


def test_candidates_answer_at_their_ends_only(tiny, generator):
    adapter = tiny.adapter
    prefixes = random_prompts(adapter, generator, [7, 9, 6])
    _, trees = forest(adapter, generator, own_ends=True)
    segment = candidate_segment(adapter, prefixes, trees, [2, 0, 1])
    assert not prefix_segment(adapter, prefixes).answering.any()
    for row, tree in enumerate(trees):
        ends = {path[-1] for path in tree.paths}
        assert set(segment.answering[row].nonzero().squeeze(1).tolist()) == ends


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=5).map(lambda o: [*o, 3]), st.integers(1, 4)
)
def test_repeated_rows_continue_their_own_copy(owners, times):
    """Row r of copy c continues row owners[r] of copy c."""
    n = len(owners)
    flags = torch.zeros(n, 1, dtype=torch.bool)
    mask = torch.arange(n)[:, None, None, None].expand(n, 1, 1, 2)
    rotary = (torch.arange(n)[:, None, None],) * 2
    segment = Segment(
        torch.zeros(n, 1, 2), torch.zeros(1, n, 1), mask, flags, flags, rotary, torch.tensor(owners)
    ).repeated(times)
    assert segment.parents.tolist() == [4 * copy + own for copy in range(times) for own in owners]
    assert segment.mask[:, 0, 0, 0].tolist() == list(range(n)) * times
    assert segment.rotary[0][:, 0, 0].tolist() == list(range(n)) * times
    assert len(segment.answering) == n * times
