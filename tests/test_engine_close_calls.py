"""Choices by less than the margin: flagged, and made again the plain way."""

from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch
from engine_support import ENGINES, small_limits, watched, whole_states
from model_support import instance, make_instances, outcomes_of, random_model

from hones_core.engine import plain
from hones_core.engine.fast_rankings import _doubtful, _others
from hones_core.engine.interventions import MeanReplaceHead, ZeroNeurons
from hones_core.heads import measure_head_effects
from hones_core.models.llava import LlavaAdapter

pytest_plugins = ["model_fixtures"]

TASKS = ("vqa", "caption", "retrieval")
INTERVENTIONS = {
    "base": None,
    "head": MeanReplaceHead(0, 1),
    "top head, last": MeanReplaceHead(1, 2, "last"),
    "neurons": ZeroNeurons.of([(0, 3), (1, 4), (1, 5)]),
}


def without_flag(outcome) -> dict:
    """All that an outcome says, with a name for NaN, which is not equal to itself."""
    values = asdict(outcome)
    del values["close_call"]
    return {name: "NaN" if value != value else value for name, value in values.items()}


@pytest.mark.parametrize("score_targets", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_with_a_huge_margin_everything_is_made_again(family, task, score_targets):
    """To the last bit what the plain path says of each instance alone."""
    instances = make_instances(task)
    fast = watched(family, task, close_margin=1e9, limits=small_limits())
    plain = watched(family, task, "plain")
    found = fast.outcomes_under(fast.prepare(instances, score_targets), INTERVENTIONS)
    for row, item in enumerate(instances):
        expected = plain.outcomes_under(plain.prepare([item], score_targets), INTERVENTIONS)
        for label in INTERVENTIONS:
            assert found[label][row].close_call
            assert without_flag(found[label][row]) == without_flag(expected[label][0])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("engine", ENGINES)
def test_without_a_margin_nothing_is(family, task, engine):
    evaluator = watched(family, task, engine, close_margin=0.0)
    found = evaluator.outcomes_under(evaluator.prepare(make_instances(task)), INTERVENTIONS)
    assert not any(outcome.close_call for own in found.values() for outcome in own)


def test_flags_are_in_the_artifact(tiny):
    frames = [
        measure_head_effects(watched(tiny, "vqa", close_margin=margin), make_instances("vqa"))
        for margin in (1e9, 0.0)
    ]
    assert frames[0]["close_call"].all()
    assert not frames[1]["close_call"].any()


def test_an_answer_is_as_close_as_its_closest_choice(family):
    """By the margins along each answer, token by token, the draft's and the decoded ones."""
    instances = make_instances("caption")
    evaluator = watched(family, "caption", limits=small_limits())
    prepared = evaluator.prepare(instances)
    prompts, smallest = evaluator.encode(instances), {}
    for label, answers in evaluator.results_under(prepared, INTERVENTIONS).items():
        for row, answer in enumerate(answers):
            intervention, tokens = INTERVENTIONS[label], answer.tokens[:-1]
            states = whole_states(evaluator.adapter, prompts, row, tokens, intervention)
            top = evaluator.adapter.logits(states).topk(2).values
            smallest[label, row] = (top[:, 0] - top[:, 1]).min().item()
    ordered = sorted(smallest.values())
    for low, high in pairwise(ordered):
        evaluator.close_margin = (low + high) / 2
        found = evaluator.outcomes_under(prepared, INTERVENTIONS)
        for label, outcomes in found.items():
            for row, outcome in enumerate(outcomes):
                assert outcome.close_call == (smallest[label, row] < evaluator.close_margin)


@pytest.fixture
def twin_tokens(tiny):
    """Makes a model in which one token is all but another: (model, the other's id)."""

    def make(token: int, difference: float):
        model = random_model()
        weight = model.lm_head.weight
        twin = len(weight) - 1 if token != len(weight) - 1 else len(weight) - 2
        with torch.no_grad():
            weight[twin] = weight[token]
            weight[twin, 0] += difference
        adapter = LlavaAdapter(model, tiny.adapter.tokenizer, tiny.adapter.image_processor)
        return replace(tiny, adapter=adapter), twin

    return make


def answers_of(models, instances, close_margin=None) -> dict:
    """Answers and flags under all interventions."""
    evaluator = watched(models, "vqa", close_margin=close_margin)
    prepared = evaluator.prepare(instances)
    outcomes = evaluator.outcomes_under(prepared, INTERVENTIONS)
    start = len(evaluator.seen) - len(instances) * len(INTERVENTIONS)
    tokens = iter(evaluator.seen[start:])
    return {
        label: [(next(tokens).tokens, outcome.close_call) for outcome in own]
        for label, own in outcomes.items()
    }


@pytest.mark.parametrize("difference", [0.0, 1e-6])
@pytest.mark.parametrize("label", list(INTERVENTIONS))
def test_a_near_tie_is_flagged_wherever_it_arises(tiny, twin_tokens, label, difference):
    """In the draft, and in decoding behind it; what has no tie is not flagged."""
    instances = make_instances("vqa")
    before = answers_of(tiny, instances)
    assert not any(close for own in before.values() for _, close in own)
    token = before[label][0][0][-2]  # of the last steps, behind where the draft was left
    models, _ = twin_tokens(token, difference)
    found = answers_of(models, instances)
    plain = watched(models, "vqa", "plain")
    for name, own in found.items():
        for item, (tokens, close) in zip(instances, own, strict=True):
            assert tokens == plain.results([item], INTERVENTIONS[name])[0].tokens
            if token in tokens:
                assert close
    assert found[label][0][1]
    assert not all(close for own in found.values() for _, close in own)


@pytest.mark.parametrize(
    ("margins", "positive", "doubtful"),
    [
        ([1.0, 0.5, -1.0], 0, []),
        ([1.0, 1.00005, -1.0], 0, [0, 1]),  # the positive's rank
        ([-1.0, 0.5, 0.50005], 0, [1, 2]),  # the best candidate
        ([1.0, -0.5, -0.50005], 0, []),  # neither
        ([-2.0, 0.5, -1.99995], 0, [0, 2]),
        ([0.0, 0.5, 0.5], 1, [1, 2]),
        ([0.0, 0.5, 0.0, 0.5], 0, [0, 1, 2, 3]),  # both
    ],
)
def test_what_a_ranking_hangs_on(margins, positive, doubtful):
    others = [index for index in range(len(margins)) if index != positive]
    assert _doubtful(margins, positive, others, 1e-4) == doubtful


def test_only_what_a_ranking_hangs_on_is_made_again(tiny, monkeypatch):
    """And what is found replaces the margin, so that the ranking is the plain path's."""
    texts = ("a red star", "a pink moon", "two circles", "a brown box", "two circles")
    item = instance("retrieval", 0, candidates=texts, positive_index=1)
    evaluator = watched(tiny, "retrieval", close_margin=0.0)
    (result,) = evaluator.results([item], MeanReplaceHead(0, 1))
    asked = []
    ranked = plain.ranked
    monkeypatch.setattr(
        plain, "ranked", lambda adapter, query, n: asked.append(query) or ranked(adapter, query, n)
    )
    doubted = replace(result, margins=[0.0] * len(texts), doubtful=(2,))
    again = evaluator.ranked_again(item, doubted, MeanReplaceHead(0, 1))
    assert [text.count("a pink moon") for text in asked[0].texts] == [1, 0, 0]
    assert again.margins[0] == again.margins[3] == 0.0
    for index in (1, 2, 4):
        assert again.margins[index] == pytest.approx(result.margins[index], abs=1e-5)
    assert again.positive_logprob == pytest.approx(result.positive_logprob, abs=1e-5)


def test_identical_negatives_are_no_close_call(tiny):
    """Whichever of them is best, the best text is the same."""
    assert sorted(_others([[1], [2], [1, 2], [2], [2]], 0)) == [2, 4]
    assert _others([[1], [1]], 0) == [1]  # but one identical to the positive is
    texts = ("a red star", "a pink moon", "two circles", "a brown box")
    item = instance("retrieval", 0, candidates=texts, positive_index=1)
    evaluator = watched(tiny, "retrieval", close_margin=1e-4)
    before = outcomes_of(evaluator, evaluator.prepare([item]))[0]
    best = texts.index(before.prediction)
    positive = (best + 1) % 4
    doubled = (*texts, before.prediction, before.prediction)
    item = instance("retrieval", 0, candidates=doubled, positive_index=positive)
    for rows in (1, 2, 5):
        evaluator = watched(
            tiny, "retrieval", close_margin=1e-4, limits=small_limits(candidate_rows=rows)
        )
        outcome = outcomes_of(evaluator, evaluator.prepare([item]))[0]
        assert not outcome.close_call
        assert outcome.prediction == before.prediction
