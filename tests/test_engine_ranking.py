"""Retrieval: shared prefixes against the plain forward of every full prompt."""

from contextlib import nullcontext

import pytest
import torch
from engine_support import ENGINES, candidate_logits, watched
from model_support import (
    edited,
    head_edit,
    ids_in_context,
    instance,
    make_instances,
    outcomes_of,
    stock_logits,
)

from hones_core.engine.at_once import Limits
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons, applied
from hones_core.engine.lengths import common_prefix
from hones_core.models import load_model
from hones_core.tasks.retrieval import ndcg

pytest_plugins = ["model_fixtures"]


def by_hand(tiny, evaluator, instances) -> torch.Tensor:
    """Logits [N, V] at the end of each candidate's full prompt."""
    return torch.stack(
        [
            stock_logits(tiny, item.image, evaluator.text(item, candidate))[-1]
            for item in instances
            for candidate in item.candidates
        ]
    )


def margins_of(tiny, evaluator, item, logits) -> tuple[list[float], float]:
    """logit(Yes) - logit(No) of each candidate, and log p(Yes) of the positive."""
    yes, no = (ids_in_context(tiny, evaluator.text(item), word)[0] for word in ("Yes", "No"))
    margins = [(row[yes] - row[no]).item() for row in logits]
    return margins, logits[item.positive_index].log_softmax(-1)[yes].item()


def settings(n_heads):
    yield "base", None, None
    for layer in range(2):
        for head in range(n_heads):
            for positions, start in (("all", None), ("last", -1)):
                intervention = MeanReplaceHead(layer, head, positions)
                edit = (layer, "heads", head_edit(head, n_heads, start))
                yield f"head {layer}.{head} {positions}", intervention, edit
    index = torch.tensor([2, 11])
    yield "zeroed", ZeroNeurons({1: index}), (1, "z", lambda z: z.index_fill(-1, index, 0))

    def double(z):
        z[..., index] *= 2
        return z

    yield "scaled", ScaleNeurons({0: (index, torch.ones(2))}), (0, "z", double)


# Rows that the candidates of a query share: one for all, some, and one each.
ROWS = [("fast", 1), ("fast", 2), ("fast", 5), ("fast", 100), ("plain", 1)]


@pytest.fixture(scope="module")
def stock(tiny) -> dict[str, torch.Tensor]:
    """Logits of every candidate's full prompt under every intervention."""
    evaluator, instances, found = tiny.evaluator("retrieval"), make_instances("retrieval"), {}
    for name, _, edit in settings(4):
        with edited(tiny, *edit) if edit else nullcontext():
            found[name] = by_hand(tiny, evaluator, instances)
    return found


@pytest.mark.parametrize(("engine", "candidate_rows"), ROWS)
def test_logits_equal_the_full_prompts(tiny, stock, engine, candidate_rows):
    """Queries with different numbers of candidates, of very different length, in one chunk."""
    limits = Limits(copies=5, candidate_rows=candidate_rows)
    evaluator = watched(tiny, "retrieval", engine, limits=limits)
    instances = make_instances("retrieval")
    assert len({len(item.candidates) for item in instances}) == 3
    lengths = {len(tiny.inputs("0.png", evaluator.text(i))["input_ids"][0]) for i in instances}
    assert max(lengths) - min(lengths) > 10
    prepared = evaluator.prepare(instances)
    interventions = {name: intervention for name, intervention, _ in settings(4)}
    together = evaluator.results_under(prepared, interventions)
    for name, intervention in interventions.items():
        found = candidate_logits(evaluator, prepared, intervention)
        difference = (found - stock[name]).abs().max().item()
        assert difference < 1e-5 * (1 + stock[name].abs().max().item()), name
        start = 0
        for item, ranked in zip(instances, together[name], strict=True):
            own = stock[name][start : start + len(item.candidates)]
            start += len(item.candidates)
            margins, logprob = margins_of(tiny, evaluator, item, own)
            assert ranked.margins == pytest.approx(margins, abs=1e-5), name
            assert ranked.positive_logprob == pytest.approx(logprob, abs=1e-5), name
    changed = [not torch.allclose(e, stock["base"], atol=1e-3) for e in stock.values()]
    assert sum(changed) == len(stock) - 1 == 18  # every intervention does something


@pytest.mark.parametrize(("engine", "candidate_rows"), ROWS)
def test_grouped_query_attention_and_a_third_layer(grouped, engine, candidate_rows):
    limits = Limits(candidate_rows=candidate_rows)
    evaluator = watched(grouped, "retrieval", engine, 3, limits=limits)
    instances = make_instances("retrieval")
    prepared = evaluator.prepare(instances)
    for positions, start in (("all", None), ("last", -1)):
        found = candidate_logits(evaluator, prepared, MeanReplaceHead(1, 3, positions))
        with edited(grouped, 1, "heads", head_edit(3, 4, start)):
            expected = by_hand(grouped, evaluator, instances)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("engine", "candidate_rows"), ROWS)
def test_outcomes_follow_from_the_logits(tiny, engine, candidate_rows):
    limits = Limits(candidate_rows=candidate_rows)
    evaluator = tiny.evaluator("retrieval", 7, engine=engine, limits=limits)
    instances = make_instances("retrieval")
    tokenizer = tiny.processor.tokenizer
    outcomes = [
        o
        for chunk in evaluator.chunks(instances)
        for o in outcomes_of(evaluator, evaluator.prepare(chunk))
    ]
    assert [o.instance_id for o in outcomes] == [item.instance_id for item in instances]
    for item, outcome in zip(instances, outcomes, strict=True):
        ids = {}
        for word in ("Yes", "No"):
            text = evaluator.text(item)
            start = len(tokenizer(text)["input_ids"])
            ids[word] = tokenizer(f"{text} {word}")["input_ids"][start]
        logits = by_hand(tiny, evaluator, [item])
        margins = [(row[ids["Yes"]] - row[ids["No"]]).item() for row in logits]
        best = max(margins)
        assert outcome.prediction == item.candidates[margins.index(best)]
        assert outcome.utility == ndcg(margins, item.positive_index)
        assert outcome.statistics == [outcome.utility]
        expected = logits[item.positive_index].log_softmax(-1)[ids["Yes"]].item()
        assert outcome.target_logprob == pytest.approx(expected, abs=1e-5)
        assert outcome.first_token_logprob == outcome.target_logprob


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_size_changes_no_outcome(tiny, engine):
    instances = make_instances("retrieval", 5)
    found = []
    for batch_size in (1, 4, 9, 64):
        evaluator = tiny.evaluator("retrieval", batch_size, engine=engine)
        outcomes = [
            o
            for chunk in evaluator.chunks(instances)
            for o in outcomes_of(evaluator, evaluator.prepare(chunk))
        ]
        found.append([(o.instance_id, o.prediction, o.utility) for o in outcomes])
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("engine", ENGINES)
def test_half_precision_agrees_with_the_full_prompts_in_it(tiny, dtype, engine):
    adapter = load_model(str(tiny.folder), "llava", dtype, "cpu")
    evaluator = Evaluator(adapter, "retrieval", tiny.images, 4, engine=engine, close_margin=0.0)
    item = make_instances("retrieval")[0]
    hurt = MeanReplaceHead(0, 1, "last")
    shared = candidate_logits(evaluator, evaluator.prepare([item]), hurt)
    with torch.no_grad(), applied(adapter, hurt):
        whole = evaluator.encode([item] * 4, item.candidates)
        plain = adapter.logits(adapter.hidden_states(whole)[:, -1])
    assert shared.dtype == torch.float32
    scale = plain.abs().max().item()
    assert (shared - plain).abs().max().item() < (0.01 if dtype == "float16" else 0.08) * scale


@pytest.mark.parametrize(("engine", "copies"), [("plain", 1), ("fast", 1), ("fast", 3)])
def test_no_pass_is_larger_than_the_batch_size(tiny, engine, copies):
    """On the fast engine each of its copies may have that many rows."""
    limits = Limits(copies=copies, candidate_rows=2)
    evaluator = tiny.evaluator("retrieval", 4, engine=engine, limits=limits, close_margin=0.0)
    heads = {head: MeanReplaceHead(0, head) for head in range(4)}
    rows = []
    handle = tiny.adapter.layers[1].register_forward_pre_hook(
        lambda _, args: rows.append(args[0].shape[0])
    )
    try:
        for chunk in evaluator.chunks(make_instances("retrieval", 6)):
            evaluator.outcomes_under(evaluator.prepare(chunk), heads | {"base": None})
    finally:
        handle.remove()
    assert max(rows) == 4 * copies


@pytest.mark.parametrize(("engine", "candidate_rows"), ROWS)
def test_no_candidate_is_hidden_among_others_with_one_word_in_common(tiny, engine, candidate_rows):
    """The shared prefix may end inside the candidates; it leaves each at least one token."""
    item = instance(
        "retrieval",
        1,
        candidates=("a red star", "a red star a red star", "a red"),
        positive_index=0,
    )
    evaluator = watched(tiny, "retrieval", engine, limits=Limits(candidate_rows=candidate_rows))
    found = candidate_logits(evaluator, evaluator.prepare([item]))
    expected = by_hand(tiny, evaluator, [item])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_common_prefix_leaves_a_token_to_every_row():
    assert common_prefix([[1, 2, 3], [1, 2, 4], [1, 2, 3, 5]]) == 2
    assert common_prefix([[1, 2], [1, 2, 4]]) == 1
    assert common_prefix([[1, 2]]) == 1
    assert common_prefix([[3, 2], [1, 2]]) == 0


def test_a_candidate_that_holds_the_image_placeholder(tiny):
    candidates = ("a red star", "an <image> of a star")
    item = instance("retrieval", 1, candidates=candidates, positive_index=0)
    with pytest.raises(ValueError, match=r"retrieval/1.*placeholder"):
        tiny.evaluator("retrieval").prepare([item])


@pytest.mark.parametrize("engine", ENGINES)
def test_yes_and_no_must_differ_in_context(tiny, monkeypatch, engine):
    monkeypatch.setattr(tiny.adapter, "answer_ids", lambda prompt, word: [7, ord(word[0])])
    with pytest.raises(ValueError, match="start with the same token in context"):
        watched(tiny, "retrieval", engine).results(make_instances("retrieval"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_candidate_is_an_error_that_names_the_query(tiny, value, engine):
    """Even where only one negative's logits break, and not the positive's."""
    limits = Limits(candidate_rows=4)  # a row for each of the four candidates, on both engines
    evaluator = tiny.evaluator("retrieval", engine=engine, limits=limits)
    prepared = evaluator.prepare(make_instances("retrieval", 1))

    def spoil(_, args):
        hidden = args[0].clone()
        if hidden.shape[0] == 4:
            hidden[3, :, 0] = value
        return (hidden,)

    handle = tiny.adapter.language_model.norm.register_forward_pre_hook(spoil)
    try:
        with pytest.raises(FloatingPointError, match=r"logits.*retrieval/0"):
            outcomes_of(evaluator, prepared, MeanReplaceHead(0, 1))
    finally:
        handle.remove()
