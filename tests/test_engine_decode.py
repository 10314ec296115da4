"""The decode pool against greedy decoding of one row at a time, everything computed each step."""

from contextlib import nullcontext
from dataclasses import dataclass

import pytest
import torch
from engine_support import Jointly, greedy, random_prompts, whole_states
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from hones_core.engine import decode as decoding
from hones_core.engine.decode import DecodePool, Waiting, choose, decode
from hones_core.engine.fast_rankings import candidate_groups
from hones_core.engine.interventions import MeanReplaceHead, ZeroNeurons, applied
from hones_core.models.adapter import Adapter, Batch, following_positions

pytest_plugins = ["model_fixtures"]

INTERVENTIONS = (
    None,
    MeanReplaceHead(0, 1),
    MeanReplaceHead(1, 3, "last"),
    ZeroNeurons.of([(0, 3), (1, 7), (1, 20)]),
    Jointly((MeanReplaceHead(1, 0), ZeroNeurons.of([(1, 2), (1, 5)]))),
)


@dataclass(frozen=True)
class Part:
    """Rows under one intervention: their prompts, and how many tokens each may have."""

    intervention: object
    lengths: list[int]
    limits: list[int]


@torch.no_grad()
def waiting_of(adapter: Adapter, number: int, part: Part, prompts: Batch) -> Waiting:
    """What the pool takes, from the prompts' whole pass with the intervention's hooks."""
    cache = DynamicCache()
    with applied(adapter, part.intervention) if part.intervention else nullcontext():
        states = adapter.hidden_states(prompts, None, cache)[:, -1]
    rows = range(len(part.lengths))
    return Waiting(
        [(number, row) for row in rows],
        list(part.intervention.changes(adapter)) if part.intervention else [],
        [(layer.keys, layer.values) for layer in cache.layers],
        prompts.attention_mask.bool(),
        adapter.logits(states).argmax(-1),
        following_positions(prompts.positions, 1)[0, :, 0],
        torch.tensor(part.limits) - 1,
    )


def pooled(adapter, parts, prompts, rows) -> dict:
    pool = DecodePool(adapter, rows)
    for number, part in enumerate(parts):
        pool.add(waiting_of(adapter, number, part, prompts[number]))
    with torch.no_grad():
        return {name: found.tokens for name, found in pool.finish().items()}


def one_by_one(adapter, parts, prompts) -> dict:
    return {
        (number, row): greedy(adapter, prompts[number], row, limit, part.intervention)
        for number, part in enumerate(parts)
        for row, limit in enumerate(part.limits)
    }


PARTS = [
    Part(INTERVENTIONS[0], [6, 9, 7], [5, 1, 3]),
    Part(INTERVENTIONS[2], [12], [7]),
    Part(INTERVENTIONS[4], [6, 6], [2, 6]),
    Part(INTERVENTIONS[1], [8, 7, 6, 6], [4, 4, 1, 5]),
]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_rows_of_different_prompts_rooms_and_interventions(family, rows):
    """Widths, rooms and interventions differ; parts are split where the pool is small."""
    adapter = family.adapter
    generator = torch.Generator().manual_seed(11)
    prompts = [random_prompts(adapter, generator, part.lengths) for part in PARTS]
    expected = one_by_one(adapter, PARTS, prompts)
    assert pooled(adapter, PARTS, prompts, rows) == expected
    assert {len(tokens) for tokens in expected.values()} == {1, 2, 3, 4, 5, 6, 7}


def test_rows_end_at_stop_tokens(family, monkeypatch):
    """Rows leave the pool at different steps, the first before any step."""
    adapter = family.adapter
    generator = torch.Generator().manual_seed(12)
    prompts = [random_prompts(adapter, generator, part.lengths) for part in PARTS]
    free = one_by_one(adapter, PARTS, prompts)
    stops = [free[0, 0][0], free[1, 0][3], free[3, 1][2]]
    monkeypatch.setattr(adapter, "stop_ids", stops)
    expected = one_by_one(adapter, PARTS, prompts)
    assert expected != free
    assert len(expected[0, 0]) == 1
    assert pooled(adapter, PARTS, prompts, 100) == expected


@st.composite
def drawn_parts(draw) -> list[Part]:
    parts = []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(1, 3))
        lengths = draw(st.lists(st.integers(6, 14), min_size=n, max_size=n))
        limits = draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
        parts.append(Part(draw(st.sampled_from(INTERVENTIONS)), lengths, limits))
    return parts


@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    parts=drawn_parts(),
    rows=st.integers(1, 6),
    seed=st.integers(0, 99),
    stop=st.booleans(),
)
def test_any_mixture_of_rows(family, monkeypatch, parts, rows, seed, stop):
    adapter = family.adapter
    generator = torch.Generator().manual_seed(seed)
    prompts = [random_prompts(adapter, generator, part.lengths) for part in parts]
    with monkeypatch.context() as patch:
        if stop:
            longest = max(one_by_one(adapter, parts, prompts).values(), key=len)
            patch.setattr(adapter, "stop_ids", [longest[len(longest) // 2]])
        assert pooled(adapter, parts, prompts, rows) == one_by_one(adapter, parts, prompts)


def test_margins_are_the_smallest_of_the_choices_that_were_made(tiny):
    """Of the steps after the known token, up to the end."""
    adapter, part = tiny.adapter, PARTS[3]
    prompts = random_prompts(adapter, torch.Generator().manual_seed(1), part.lengths)
    with torch.no_grad():
        found = decode(adapter, [waiting_of(adapter, 0, part, prompts)])
    for row in range(len(part.limits)):
        result, smallest = found[0, row], float("inf")
        for n in range(1, len(result.tokens)):
            states = whole_states(adapter, prompts, row, result.tokens[:n], part.intervention)
            top = adapter.logits(states[-1]).topk(2).values
            smallest = min(smallest, (top[0] - top[1]).item())
        assert result.margin == pytest.approx(smallest, abs=1e-5)
    assert found[0, 2].margin == float("inf")


def test_no_decoding_step_is_larger_than_the_pool(tiny):
    adapter, rows = tiny.adapter, []
    prompts = [random_prompts(adapter, torch.Generator(), part.lengths) for part in PARTS]
    waiting = [waiting_of(adapter, i, part, prompts[i]) for i, part in enumerate(PARTS)]
    handle = adapter.layers[0].register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    pool = DecodePool(adapter, 3)
    try:
        with torch.no_grad():
            for part in waiting:
                pool.add(part)
            pool.finish()
    finally:
        handle.remove()
    assert max(rows) == 3
    assert pool.waiting == []


def test_finished_rows_are_not_computed_any_more(tiny):
    """A step has the rows that still need a token."""
    adapter, rows = tiny.adapter, []
    part = Part(None, [6, 8, 7], [1, 3, 5])
    prompts = random_prompts(adapter, torch.Generator(), part.lengths)
    waiting = waiting_of(adapter, 0, part, prompts)
    handle = adapter.layers[0].register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    try:
        with torch.no_grad():
            decoding.decode(adapter, [waiting])
    finally:
        handle.remove()
    assert rows == [2, 2, 1, 1]


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=6), min_size=1, max_size=5))
def test_of_equal_logits_the_lowest_id_is_chosen(rows):
    """As argmax takes it, for any number of equals; the margin is then 0."""
    for row in rows:
        tokens, margins = choose(torch.tensor([row], dtype=torch.float32))
        assert tokens.tolist() == [row.index(max(row))]
        assert margins.tolist() == [max(row) - sorted(row)[-2]]


def test_choices_keep_their_places():
    logits = torch.randn(2, 3, 4, 9)
    tokens, margins = choose(logits)
    assert torch.equal(tokens, logits.argmax(-1))
    top = logits.sort(-1).values
    assert torch.equal(margins, top[..., -1] - top[..., -2])


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=9),
    st.integers(1, 12),
)
def test_candidate_groups(texts, rows):
    """Every candidate once, in few groups of equal size, in the dictionary's order."""
    groups = candidate_groups(texts, rows)
    order = [index for group in groups for index in group]
    assert sorted(order) == list(range(len(texts)))
    assert [texts[index] for index in order] == sorted(texts)
    assert len(groups) <= rows
    assert len({len(group) for group in groups[:-1]}) <= 1
    assert 0 < len(groups[-1]) <= len(groups[0]) == -(-len(texts) // rows)
