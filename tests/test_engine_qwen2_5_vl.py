"""Both engines on Qwen2.5-VL, against the stock model one sample at a time."""

from contextlib import ExitStack

import pytest
import torch
from model_support import (
    edited,
    head_edit,
    ids_in_context,
    make_instances,
    stock_answer,
    stock_logits,
)

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import MeanReplaceHead, ZeroNeurons

pytest_plugins = ["model_fixtures"]

N_HEADS, N_LAYERS = 4, 2


def settings():
    """{name: (intervention, the edits of the stock model that mean the same)}"""
    neurons = torch.tensor([3, 20])
    zeroed = [(0, "z", lambda z: z.index_fill(-1, neurons, 0.0))]
    found = {"base": (None, []), "zeroed": (ZeroNeurons.of([(0, 3), (0, 20)]), zeroed)}
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            edit = [(layer, "heads", head_edit(head, N_HEADS))]
            found[f"head {layer}.{head}"] = (MeanReplaceHead(layer, head), edit)
    return found


def measured(model, task: str, engine: str) -> dict:
    """{name of the setting: outcomes}, without any help of the plain path for the fast engine."""
    evaluator = Evaluator(model.adapter, task, model.images, 8, 6, engine, close_margin=0.0)
    interventions = {name: pair[0] for name, pair in settings().items()}
    return evaluator.outcomes_under(evaluator.prepare(make_instances(task)), interventions)


@pytest.mark.parametrize("engine", ["fast", "plain"])
@pytest.mark.parametrize("task", ["vqa", "ocr", "caption"])
def test_answers_and_targets(tiny_qwen, task, engine):
    evaluator, found = tiny_qwen.evaluator(task), measured(tiny_qwen, task, engine)
    for name, (_, edits) in settings().items():
        with ExitStack() as stack:
            for layer, place, edit in edits:
                stack.enter_context(edited(tiny_qwen, layer, place, edit))
            for item, outcome in zip(make_instances(task), found[name], strict=True):
                assert outcome.prediction == stock_answer(tiny_qwen, evaluator, item), name
                text, target = evaluator.text(item), evaluator.task.targets(item)[0]
                ids = ids_in_context(tiny_qwen, text, target)
                logits = stock_logits(tiny_qwen, item.image, text, ids)[-len(ids) - 1 : -1]
                logprobs = logits.log_softmax(-1)[torch.arange(len(ids)), ids]
                assert outcome.target_logprob == pytest.approx(logprobs.mean().item(), abs=1e-5)
                assert outcome.first_token_logprob == pytest.approx(logprobs[0].item(), abs=1e-5)
    said = {name: [one.prediction for one in outcomes] for name, outcomes in found.items()}
    assert sum(said[name] != said["base"] for name in said) > len(said) / 2


@pytest.mark.parametrize("engine", ["fast", "plain"])
def test_candidates(tiny_qwen, engine):
    """Behind a shared image, which takes fewer positions than it has tokens."""
    evaluator, found = tiny_qwen.evaluator("retrieval"), measured(tiny_qwen, "retrieval", engine)
    for name, (_, edits) in settings().items():
        with ExitStack() as stack:
            for layer, place, edit in edits:
                stack.enter_context(edited(tiny_qwen, layer, place, edit))
            for item, outcome in zip(make_instances("retrieval"), found[name], strict=True):
                texts = [evaluator.text(item, candidate) for candidate in item.candidates]
                yes, no = (ids_in_context(tiny_qwen, texts[0], word)[0] for word in ("Yes", "No"))
                rows = [stock_logits(tiny_qwen, item.image, text)[-1] for text in texts]
                scores = [(row[yes] - row[no]).item() for row in rows]
                assert outcome.prediction == item.candidates[scores.index(max(scores))], name
                assert outcome.utility == evaluator.task.utility(scores, item)
                logprob = rows[item.positive_index].log_softmax(-1)[yes].item()
                assert outcome.target_logprob == pytest.approx(logprob, abs=1e-5)
