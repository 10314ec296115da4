"""Generation and teacher forcing against the stock model, one sample at a time."""

import math
from contextlib import ExitStack
from dataclasses import replace

import pytest
import torch
from engine_support import ENGINES, small_limits, watched
from model_support import (
    edited,
    head_edit,
    ids_in_context,
    make_instances,
    outcomes_of,
    random_model,
    stock_logits,
    stock_tokens,
)

from hones_core.engine.at_once import Limits
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons
from hones_core.models.llava import LlavaAdapter

pytest_plugins = ["model_fixtures"]

N_HEADS = 4


def cut(tokens: list[int], stops: list[int]) -> list[int]:
    """The tokens up to the first one that ends an answer."""
    ends = [place for place, token in enumerate(tokens) if token in stops]
    return tokens[: ends[0] + 1] if ends else tokens


def tokens(evaluator, instances, intervention=None) -> list[list[int]]:
    return [answer.tokens for answer in evaluator.results(instances, intervention)]


def stops(tiny, evaluator) -> list[int]:
    """End-of-sequence ids, with one more that ends the first answer early."""
    first = make_instances("vqa")[0]
    end = tiny.processor.tokenizer.eos_token_id
    return [end, stock_tokens(tiny, first.image, evaluator.text(first), [end])[2]]


def settings():
    """Every intervention, beside the edits of the stock model that mean the same."""
    neurons = [(0, 3), (0, 20), (1, 7), (1, 8), (1, 9)]
    index = {layer: [i for at, i in neurons if at == layer] for layer in (0, 1)}
    scales = {0: [-1.0, 2.5], 1: [0.75, -1.5, 3.0]}

    def zero(layer):
        return lambda z: z.index_fill(-1, torch.tensor(index[layer]), 0.0)

    def scale(layer):
        def edit(z):
            for neuron, s in zip(index[layer], scales[layer], strict=True):
                z[..., neuron] *= 1 + s
            return z

        return edit

    bank = {layer: (torch.tensor(index[layer]), torch.tensor(scales[layer])) for layer in index}
    yield "base", None, []
    yield "zeroed", ZeroNeurons.of(neurons), [(layer, "z", zero(layer)) for layer in (0, 1)]
    yield "scaled", ScaleNeurons(bank), [(layer, "z", scale(layer)) for layer in (0, 1)]
    for layer in range(2):
        for head in range(N_HEADS):
            for positions, start in (("all", None), ("last", -1)):
                edit = head_edit(head, N_HEADS, start)
                name = f"head {layer}.{head} {positions}"
                yield name, MeanReplaceHead(layer, head, positions), [(layer, "heads", edit)]


@pytest.mark.parametrize("limits", [Limits(), small_limits()], ids=["default", "small"])
@pytest.mark.parametrize("engine", ENGINES)
def test_tokens_are_those_of_stock_generate(tiny, monkeypatch, engine, limits):
    """Left-padded batch against single prompts, under every intervention, with early ends."""
    if engine == "plain" and limits != Limits():
        pytest.skip("the plain path has no such limits")
    evaluator = watched(tiny, "vqa", engine, limits=limits)
    ends = stops(tiny, evaluator)
    monkeypatch.setattr(tiny.adapter, "stop_ids", ends)
    instances = make_instances("vqa")
    interventions = {name: intervention for name, intervention, _ in settings()}
    found = evaluator.results_under(evaluator.prepare(instances), interventions)
    answers = {}
    for name, _, edits in settings():
        with ExitStack() as stack:
            for layer, place, edit in edits:
                stack.enter_context(edited(tiny, layer, place, edit))
            expected = [
                stock_tokens(tiny, item.image, evaluator.text(item), ends) for item in instances
            ]
        answers[name] = [answer.tokens for answer in found[name]]
        assert answers[name] == expected, name
    assert len({len(tokens) for tokens in answers["base"]}) > 1
    changed = [name for name in answers if answers[name] != answers["base"]]
    assert len(changed) > len(answers) / 2
    assert any(
        answers[f"head {layer}.{head} all"] != answers[f"head {layer}.{head} last"]
        for layer in range(2)
        for head in range(N_HEADS)
    )


@pytest.mark.parametrize("engine", ENGINES)
def test_grouped_query_attention_generates_alike(grouped, engine):
    evaluator = watched(grouped, "caption", engine)
    instances = make_instances("caption")
    stop = [grouped.processor.tokenizer.eos_token_id]
    for layer, head in [(0, 0), (1, 3), (2, 1)]:
        found = tokens(evaluator, instances, MeanReplaceHead(layer, head))
        with edited(grouped, layer, "heads", head_edit(head, N_HEADS)):
            assert found == [
                stock_tokens(grouped, item.image, evaluator.text(item), stop) for item in instances
            ]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_checkpoints_own_generation_settings_do_not_leak_in(tiny, engine):
    """Greedy is greedy, whatever penalties the checkpoint's generation config asks for."""
    instances = make_instances("vqa")
    plain = tokens(watched(tiny, "vqa", engine), instances)
    model = random_model()
    config = model.generation_config
    config.repetition_penalty = 50.0
    config.no_repeat_ngram_size = 1
    config.suppress_tokens = plain[0]
    config.do_sample = True
    config.eos_token_id = [plain[1][1], plain[0][-1]]
    adapter = LlavaAdapter(model, tiny.adapter.tokenizer, tiny.adapter.image_processor)
    assert adapter.stop_ids == [plain[1][1], plain[0][-1]]
    found = tokens(watched(replace(tiny, adapter=adapter), "vqa", engine), instances)
    assert found == [cut(row, adapter.stop_ids) for row in plain]


@pytest.mark.parametrize("engine", ENGINES)
def test_longest_answer_and_stripped_text(tiny, engine):
    evaluator = watched(tiny, "vqa", engine, max_new_tokens=3)
    instances = make_instances("vqa")
    answers = tokens(evaluator, instances)
    assert {len(row) for row in answers} == {3}
    outcomes = outcomes_of(evaluator, evaluator.prepare(instances))
    decode = tiny.processor.tokenizer.decode
    for item, outcome, row in zip(instances, outcomes, answers, strict=True):
        assert outcome.instance_id == item.instance_id
        assert outcome.prediction == decode(row, skip_special_tokens=True).strip()
        assert outcome.utility == evaluator.task.utility(outcome.prediction, item)
        assert outcome.statistics == evaluator.task.statistics(outcome.prediction, item)


def forced_by_hand(tiny, evaluator, item, target) -> list[float]:
    """log p of each target token, from one plain forward of prompt and target."""
    text = evaluator.text(item)
    ids = ids_in_context(tiny, text, target)
    logits = stock_logits(tiny, item.image, text, ids)
    logprobs = []
    for place, token in enumerate(ids):
        row = logits[len(logits) - len(ids) - 1 + place].double()
        logprobs.append(row[token].item() - math.log(row.exp().sum().item()))
    return logprobs


@pytest.mark.parametrize("task", ["vqa", "ocr", "caption"])
@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_target_log_probabilities(tiny, task, batch_size, engine):
    evaluator = tiny.evaluator(task, batch_size, engine=engine)
    instances = make_instances(task)
    outcomes = [
        outcome
        for chunk in evaluator.chunks(instances)
        for outcome in outcomes_of(evaluator, evaluator.prepare(chunk))
    ]
    target = {"vqa": ["red", "no", "a very odd zebra"], "ocr": ["K8", "EXIT NOW", "b"]}
    for index, (item, outcome) in enumerate(zip(instances, outcomes, strict=True)):
        text = target[task][index] if task in target else item.references[0]
        expected = forced_by_hand(tiny, evaluator, item, text)
        assert outcome.target_logprob == pytest.approx(sum(expected) / len(expected), abs=1e-5)
        assert outcome.first_token_logprob == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("engine", ENGINES)
def test_teacher_forcing_under_a_replaced_head(tiny, positions, engine):
    """'last' is the prompt's last token and the target's tokens, not the batch's last column."""
    evaluator = tiny.evaluator("vqa", engine=engine)
    instances = make_instances("vqa")
    prepared = evaluator.prepare(instances)
    for layer, head in [(0, 1), (1, 2)]:
        outcomes = outcomes_of(evaluator, prepared, MeanReplaceHead(layer, head, positions))
        for item, outcome in zip(instances, outcomes, strict=True):
            length = tiny.inputs(item.image, evaluator.text(item))["input_ids"].shape[1]
            start = None if positions == "all" else length - 1
            with edited(tiny, layer, "heads", head_edit(head, N_HEADS, start)):
                expected = forced_by_hand(tiny, evaluator, item, item.references[0])
            assert outcome.target_logprob == pytest.approx(sum(expected) / len(expected), abs=1e-5)
            assert outcome.first_token_logprob == pytest.approx(expected[0], abs=1e-5)


@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("engine", ENGINES)
def test_teacher_forcing_its_own_answer_agrees_with_generation(tiny, positions, engine):
    """Forced with what it generated under an intervention, the model predicts just that."""
    evaluator = watched(tiny, "vqa", engine)
    instances = make_instances("vqa")
    hurt = MeanReplaceHead(0, 1, positions)
    answers = tokens(evaluator, instances, hurt)
    ids = [item.instance_id for item in instances]
    evaluator.forced = dict(zip(ids, answers, strict=True))
    own = evaluator.results(instances, hurt)
    other = [[(token + 1) % 50 for token in row] for row in answers]
    evaluator.forced = dict(zip(ids, other, strict=True))
    worse = evaluator.results(instances, hurt)
    for row, item in enumerate(instances):
        assert own[row].target_logprob > worse[row].target_logprob
        assert own[row].tokens == worse[row].tokens == answers[row]
        length = tiny.inputs(item.image, evaluator.text(item))["input_ids"].shape[1]
        start = None if positions == "all" else length - 1
        with edited(tiny, 0, "heads", head_edit(1, N_HEADS, start)):
            logits = stock_logits(tiny, item.image, evaluator.text(item), answers[row])
        assert logits[length - 1 : -1].argmax(-1).tolist() == answers[row]
        for targets, result in ((answers, own[row]), (other, worse[row])):
            with edited(tiny, 0, "heads", head_edit(1, N_HEADS, start)):
                logits = stock_logits(tiny, item.image, evaluator.text(item), targets[row])
            chosen = torch.tensor(targets[row])[:, None]
            expected = logits[length - 1 : -1].log_softmax(-1).gather(-1, chosen)
            assert result.target_logprob == pytest.approx(expected.mean().item(), abs=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("engine", ENGINES)
def test_broken_weights_stop_generation_and_name_the_batch(tiny, value, engine):
    """Wherever the weights break: before anything is run, or behind what was prepared."""
    evaluator = tiny.evaluator("vqa", engine=engine)
    instances = make_instances("vqa")
    prepared = evaluator.prepare(instances)
    norm = tiny.adapter.language_model.norm.weight
    before = norm[0].item()
    try:
        norm[0] = value
        with pytest.raises(FloatingPointError, match=r"float32.*vqa/0, vqa/1, vqa/2"):
            outcomes_of(evaluator, prepared, MeanReplaceHead(0, 1))
        with pytest.raises(FloatingPointError, match=r"float32.*vqa/0, vqa/1, vqa/2"):
            outcomes_of(evaluator, evaluator.prepare(instances))
    finally:
        norm[0] = before


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("intervention", [None, MeanReplaceHead(0, 1)], ids=["base", "head"])
def test_logits_that_break_only_while_decoding_are_noticed(tiny, engine, intervention):
    """`generate` would take some token of NaN logits and go on."""
    evaluator = tiny.evaluator("vqa", engine=engine)
    instances = make_instances("vqa")
    prepared = evaluator.prepare(instances) if intervention else None

    def spoil(_, args):
        return (args[0] * float("nan"),) if args[0].shape[1] == 1 else None

    handle = tiny.adapter.layers[0].mlp.down_proj.register_forward_pre_hook(spoil)
    try:
        with pytest.raises(FloatingPointError, match=r"NaN.*vqa/0, vqa/1, vqa/2"):
            outcomes_of(evaluator, prepared or evaluator.prepare(instances), intervention)
    finally:
        handle.remove()


def test_chunks_keep_order_and_count(tiny):
    instances = make_instances("vqa", 5)
    chunks = tiny.evaluator("vqa", 2).chunks(instances)
    assert [len(chunk) for chunk in chunks] == [2, 2, 1]
    assert [item for chunk in chunks for item in chunk] == instances
    assert tiny.evaluator("retrieval").chunks([]) == []
