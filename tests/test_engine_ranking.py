"""Retrieval: shared prefixes against the plain forward of every full prompt."""

from contextlib import nullcontext

import pytest
import torch
from model_support import edited, head_edit, instance, make_instances, stock_logits

from hones_core.engine import evaluate
from hones_core.engine.evaluate import Evaluator, candidate_logits
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons, applied
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


def settings(n_heads):
    yield "base", (), None
    for layer in range(2):
        for head in range(n_heads):
            for positions, start in (("all", None), ("last", -1)):
                intervention = MeanReplaceHead(layer, head, positions)
                edit = (layer, "heads", head_edit(head, n_heads, start))
                yield f"head {layer}.{head} {positions}", (intervention,), edit
    index = torch.tensor([2, 11])
    yield "zeroed", (ZeroNeurons({1: index}),), (1, "z", lambda z: z.index_fill(-1, index, 0))

    def double(z):
        z[..., index] *= 2
        return z

    yield "scaled", (ScaleNeurons({0: (index, torch.ones(2))}),), (0, "z", double)


def test_logits_equal_the_full_prompts(tiny):
    """Queries with different numbers of candidates, of very different length, in one chunk."""
    evaluator = tiny.evaluator("retrieval")
    instances = make_instances("retrieval")
    assert len({len(item.candidates) for item in instances}) == 3
    prepared = evaluator.prepare(instances)
    assert (prepared.lengths.max() - prepared.lengths.min()).item() > 10
    expected = {}
    for name, interventions, edit in settings(4):
        with edited(tiny, *edit) if edit else nullcontext():
            expected[name] = by_hand(tiny, evaluator, instances)
        for rows_at_once in (1, 5, 100):
            with torch.no_grad(), applied(tiny.adapter, *interventions):
                found = candidate_logits(tiny.adapter, prepared, rows_at_once)
            difference = (found - expected[name]).abs().max().item()
            assert difference < 1e-5 * (1 + expected[name].abs().max().item()), name
    changed = [not torch.allclose(e, expected["base"], atol=1e-3) for e in expected.values()]
    assert sum(changed) == len(expected) - 1 == 18  # every intervention does something


def test_grouped_query_attention_and_a_third_layer(grouped):
    evaluator = grouped.evaluator("retrieval", 3)
    instances = make_instances("retrieval")
    prepared = evaluator.prepare(instances)
    for positions, start in (("all", None), ("last", -1)):
        with torch.no_grad(), applied(grouped.adapter, MeanReplaceHead(1, 3, positions)):
            found = candidate_logits(grouped.adapter, prepared, 3)
        with edited(grouped, 1, "heads", head_edit(3, 4, start)):
            expected = by_hand(grouped, evaluator, instances)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_outcomes_follow_from_the_logits(tiny):
    evaluator = tiny.evaluator("retrieval", 7)
    instances = make_instances("retrieval")
    tokenizer = tiny.processor.tokenizer
    outcomes = [
        o
        for chunk in evaluator.chunks(instances)
        for o in evaluator.outcomes(evaluator.prepare(chunk))
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


def test_batch_size_changes_no_outcome(tiny):
    instances = make_instances("retrieval", 5)
    found = []
    for batch_size in (1, 4, 9, 64):
        evaluator = tiny.evaluator("retrieval", batch_size)
        outcomes = [
            o
            for chunk in evaluator.chunks(instances)
            for o in evaluator.outcomes(evaluator.prepare(chunk))
        ]
        found.append([(o.instance_id, o.prediction, o.utility) for o in outcomes])
    assert all(other == found[0] for other in found)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_agrees_with_the_full_prompts_in_it(tiny, dtype):
    adapter = load_model(str(tiny.folder), "llava", dtype, "cpu")
    evaluator = Evaluator(adapter, "retrieval", tiny.images, 4)
    item = make_instances("retrieval")[0]
    with torch.no_grad(), applied(adapter, MeanReplaceHead(0, 1, "last")):
        shared = candidate_logits(adapter, evaluator.prepare([item]), 4)
        whole = evaluator.encode([item] * 4, item.candidates)
        plain = adapter.logits(adapter.hidden_states(whole)[:, -1])
    assert shared.dtype == torch.float32
    scale = plain.abs().max().item()
    assert (shared - plain).abs().max().item() < (0.01 if dtype == "float16" else 0.08) * scale


def test_no_pass_is_larger_than_the_batch_size(tiny):
    evaluator = tiny.evaluator("retrieval", 4)
    rows = []
    handle = tiny.adapter.layers[0].register_forward_pre_hook(
        lambda _, args: rows.append(args[0].shape[0])
    )
    try:
        for chunk in evaluator.chunks(make_instances("retrieval")):
            evaluator.outcomes(evaluator.prepare(chunk))
    finally:
        handle.remove()
    assert max(rows) <= 4


def test_no_candidate_is_hidden_among_others_with_one_word_in_common(tiny):
    """The shared prefix may end inside the candidates; it leaves each at least one token."""
    item = instance(
        "retrieval",
        1,
        candidates=("a red star", "a red star a red star", "a red"),
        positive_index=0,
    )
    evaluator = tiny.evaluator("retrieval")
    with torch.no_grad():
        found = candidate_logits(tiny.adapter, evaluator.prepare([item]), 4)
    expected = by_hand(tiny, evaluator, [item])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_common_prefix_leaves_a_token_to_every_row():
    assert evaluate._common_prefix([[1, 2, 3], [1, 2, 4], [1, 2, 3, 5]]) == 2
    assert evaluate._common_prefix([[1, 2], [1, 2, 4]]) == 1
    assert evaluate._common_prefix([[1, 2]]) == 1
    assert evaluate._common_prefix([[3, 2], [1, 2]]) == 0


def test_a_candidate_that_holds_the_image_placeholder(tiny):
    candidates = ("a red star", "an <image> of a star")
    item = instance("retrieval", 1, candidates=candidates, positive_index=0)
    with pytest.raises(ValueError, match=r"placeholder.*retrieval/1"):
        tiny.evaluator("retrieval").prepare([item])


def test_yes_and_no_must_differ_in_context(tiny, monkeypatch):
    monkeypatch.setattr(tiny.adapter, "answer_ids", lambda prompt, word: [7, ord(word[0])])
    with pytest.raises(ValueError, match="start with the same token in context"):
        tiny.evaluator("retrieval").prepare(make_instances("retrieval"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_broken_candidate_is_an_error_that_names_the_query(tiny, value):
    """Even where only one negative's logits break, and not the positive's."""
    evaluator = tiny.evaluator("retrieval")
    prepared = evaluator.prepare(make_instances("retrieval", 1))

    def spoil(_, args):
        hidden = args[0].clone()
        if hidden.shape[0] == 4:
            hidden[3, :, 0] = value
        return (hidden,)

    handle = tiny.adapter.language_model.norm.register_forward_pre_hook(spoil)
    try:
        with pytest.raises(FloatingPointError, match=r"logits.*retrieval/0"):
            evaluator.outcomes(prepared)
    finally:
        handle.remove()
