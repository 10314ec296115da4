"""The fast engine on drawn prompts, answers, candidates, interventions and limits."""

from dataclasses import replace

import pytest
import torch
from engine_support import (
    ENGINES,
    ROUNDING,
    Jointly,
    draw_photographs,
    random_instances,
    random_prompts,
    watched,
    whole_states,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hones_core.engine.at_once import Limits
from hones_core.engine.fast_rankings import rankings_under, trace_candidates
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons
from hones_core.models.adapter import Adapter

pytest_plugins = ["model_fixtures"]

DRAWN = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
N_PHOTOGRAPHS = 12
SEEDS = st.integers(0, 999)
LIMITS = st.builds(
    Limits,
    copies=st.integers(1, 5),
    decode_rows=st.integers(1, 9),
    candidate_rows=st.integers(1, 7),
)


@pytest.fixture(scope="module")
def models(family, tmp_path_factory):
    """A model whose evaluators look at photographs of their own."""
    folder = draw_photographs(tmp_path_factory.mktemp("photographs"), N_PHOTOGRAPHS)
    return replace(family, images=folder)


@st.composite
def interventions_of(draw, adapter: Adapter):
    """One of any kind, in any layers."""
    layers = st.integers(0, adapter.n_layers - 1)
    head = st.builds(
        MeanReplaceHead,
        layers,
        st.integers(0, adapter.n_heads - 1),
        st.sampled_from(["all", "last"]),
    )
    places = st.sets(
        st.tuples(layers, st.integers(0, adapter.n_neurons - 1)), min_size=1, max_size=9
    )
    kind = draw(st.sampled_from(["head", "head", "zero", "scale", "scale", "joint", "none"]))
    if kind == "head":
        return draw(head)
    if kind == "zero":
        return ZeroNeurons.of(draw(places))
    if kind == "scale":
        # A faint one leaves the draft behind some tokens only.
        return scaled(draw(places), draw(st.sampled_from([0.1, 0.3, 2.0])), draw(SEEDS))
    if kind == "joint":
        parts = draw(st.lists(head, min_size=1, max_size=3))
        return Jointly((*parts, ZeroNeurons.of(draw(places))))
    return draw(st.sampled_from([None, ZeroNeurons({})]))


def scaled(places, strength: float, seed: int) -> ScaleNeurons:
    generator = torch.Generator().manual_seed(seed)
    layers: dict[int, list[int]] = {}
    for layer, neuron in sorted(places):
        layers.setdefault(layer, []).append(neuron)
    return ScaleNeurons(
        {
            layer: (torch.tensor(index), strength * torch.randn(len(index), generator=generator))
            for layer, index in layers.items()
        }
    )


def drawn_interventions(data, adapter: Adapter) -> dict:
    found = data.draw(st.lists(interventions_of(adapter), min_size=1, max_size=6))
    return dict(enumerate(found))


@DRAWN
@given(data=st.data(), limits=LIMITS, max_new_tokens=st.integers(1, 7))
def test_answers(models, monkeypatch, data, limits, max_new_tokens):
    """Any prompts, targets, lengths and stop tokens; settled where a choice is too close."""
    adapter = models.adapter
    task = data.draw(st.sampled_from(["vqa", "caption"]))
    pool = random_instances(task, N_PHOTOGRAPHS)
    instances = data.draw(st.lists(st.sampled_from(pool), min_size=1, max_size=5, unique=True))
    ids = st.lists(st.integers(5, 300), min_size=1, max_size=6)
    targets = {item.instance_id: data.draw(ids) for item in instances}
    interventions = drawn_interventions(data, adapter)
    score_targets = data.draw(st.booleans())

    def answers(engine):
        evaluator = watched(
            models, task, engine, 8, max_new_tokens, close_margin=None, limits=limits
        )
        evaluator.forced = targets
        prepared = evaluator.prepare(instances, score_targets)
        return evaluator.results_under(prepared, interventions)

    with monkeypatch.context() as patch:
        if data.draw(st.booleans()):
            said = [a.tokens for found in answers("fast").values() for a in found]
            row = said[data.draw(st.integers(0, len(said) - 1))]
            stop = row[data.draw(st.integers(0, len(row) - 1))]
            patch.setattr(adapter, "stop_ids", [*adapter.stop_ids, stop])
        fast, plain = (answers(engine) for engine in ENGINES)
    assert list(fast) == list(interventions)
    for label in interventions:
        for one, other in zip(fast[label], plain[label], strict=True):
            assert one.tokens == other.tokens
            for name in ("target_logprob", "first_logprob"):
                expected = getattr(other, name)
                assert (expected == expected) is score_targets  # NaN where no target is scored
                assert getattr(one, name) == pytest.approx(expected, abs=ROUNDING, nan_ok=True)


@DRAWN
@given(data=st.data(), limits=LIMITS, seed=SEEDS)
def test_rankings(models, data, limits, seed):
    """Any prefixes and candidates: one another's beginnings, identical ones, single tokens."""
    adapter = models.adapter
    generator = torch.Generator().manual_seed(seed)
    lengths = data.draw(st.lists(st.integers(6, 12), min_size=1, max_size=3))
    prefixes = random_prompts(adapter, generator, lengths)
    texts = st.lists(st.lists(st.integers(50, 52), min_size=1, max_size=4), min_size=2, max_size=7)
    suffixes = [data.draw(texts) for _ in lengths]
    positives = [data.draw(st.integers(0, len(own) - 1)) for own in suffixes]
    yes, no = 60, 61
    interventions = drawn_interventions(data, adapter)
    changes = {
        label: [] if one is None else list(one.changes(adapter))
        for label, one in interventions.items()
    }
    with torch.inference_mode():
        traced = trace_candidates(adapter, prefixes, suffixes, positives, (yes, no), limits)
        found = rankings_under(adapter, traced, changes, limits, 0.0)
    assert list(found) == list(interventions)
    for label, intervention in interventions.items():
        for row, (own, ranked) in enumerate(zip(suffixes, found[label], strict=True)):
            states = [
                whole_states(adapter, prefixes, row, text, intervention, answering=1)[-1]
                for text in own
            ]
            logits = adapter.logits(torch.stack(states))
            margins = (logits[:, yes] - logits[:, no]).tolist()
            assert ranked.margins == pytest.approx(margins, abs=ROUNDING)
            logprob = logits[positives[row]].log_softmax(-1)[yes].item()
            assert ranked.positive_logprob == pytest.approx(logprob, abs=ROUNDING)
