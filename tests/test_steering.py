"""Steering: loss, gradient and predictions against a copied model."""

from collections import Counter

import pandas as pd
import pytest
import torch
from engine_support import ENGINES
from model_support import ids_in_context, make_instances, stock_answer, stock_logits
from steering_support import NEURONS, examples_of, loss_by_hand

from hones_core import artifacts
from hones_core.engine.interventions import applied
from hones_core.engine.plain import forced_logits
from hones_core.schemas.steering import STEERED_PREDICTIONS
from hones_core.steering.bank import Bank
from hones_core.steering.prediction import predict_steered
from hones_core.steering.training import _forced, cached_targets, loss_terms

pytest_plugins = ["model_fixtures"]

SCALES = [0.4, -0.7, 1.1, -1.5, 0.2]


@pytest.fixture
def bank():
    return Bank(frozenset(NEURONS))


def cache_of(evaluator, bank, engine):
    """What `learn_scales` keeps on each engine."""
    return cached_targets(evaluator, bank) if engine == "fast" else None


@pytest.mark.parametrize("task", ["vqa", "ocr", "caption", "retrieval"])
@pytest.mark.parametrize("engine", ENGINES)
def test_loss_and_gradient_equal_autograd_through_a_copied_model(tiny, bank, task, engine):
    evaluator = tiny.evaluator(task)
    examples = examples_of(task)
    found = torch.tensor(SCALES, requires_grad=True)
    expected = torch.tensor(SCALES, requires_grad=True)
    terms = loss_terms(evaluator, bank, found, examples, cache_of(evaluator, bank, engine))
    by_hand = loss_by_hand(tiny, evaluator, examples, expected)
    for term, reference in zip(terms, by_hand, strict=True):
        assert term.item() == pytest.approx(reference.item(), abs=1e-5)
        (gradient,) = torch.autograd.grad(term, found, retain_graph=True)
        (correct,) = torch.autograd.grad(reference, expected, retain_graph=True)
        assert correct.abs().min() > 1e-4
        assert (gradient - correct).norm() <= 1e-5 * correct.norm()


@pytest.mark.parametrize("engine", ENGINES)
def test_gradient_equals_finite_differences(tiny, bank, engine):
    evaluator = tiny.evaluator("vqa")
    examples = examples_of("vqa")
    cache = cache_of(evaluator, bank, engine)
    scales = torch.tensor(SCALES, requires_grad=True)
    cross_entropy, kl = loss_terms(evaluator, bank, scales, examples, cache)
    (cross_entropy + 0.5 * kl).backward()
    step = 1e-2
    for place in range(len(SCALES)):
        values = []
        for sign in (1, -1):
            moved = torch.tensor(SCALES)
            moved[place] += sign * step
            terms = loss_terms(evaluator, bank, moved, examples, cache)
            values.append((terms[0] + 0.5 * terms[1]).item())
        numeric = (values[0] - values[1]) / (2 * step)
        assert scales.grad[place].item() == pytest.approx(numeric, rel=0.02, abs=1e-3)


def test_the_last_target_token_is_the_end_of_sequence(tiny):
    evaluator = tiny.evaluator("vqa")
    examples = examples_of("vqa")
    forced = _forced(evaluator, examples)
    stop = tiny.processor.tokenizer.eos_token_id
    for row, example in enumerate(examples):
        ids = forced.target_ids[row][forced.target_mask[row]].tolist()
        text = evaluator.text(example.instance)
        assert ids == [*ids_in_context(tiny, text, example.target), stop]


def test_no_scale_is_no_change(tiny, bank):
    """s = 0 gives the base's logits bit for bit, and no divergence; cached, up to rounding."""
    evaluator = tiny.evaluator("vqa")
    examples = examples_of("vqa")
    zeros = torch.zeros(len(NEURONS))
    with torch.no_grad():
        forced = _forced(evaluator, examples)
        base = forced_logits(tiny.adapter, forced)
        with applied(tiny.adapter, bank.intervention(zeros)):
            assert torch.equal(forced_logits(tiny.adapter, forced), base)
        with applied(tiny.adapter, bank.intervention(torch.tensor(SCALES))):
            assert not torch.allclose(forced_logits(tiny.adapter, forced), base, atol=1e-3)
    assert loss_terms(evaluator, bank, zeros, examples)[1].item() == 0
    cache = cached_targets(evaluator, bank)
    assert abs(loss_terms(evaluator, bank, zeros, examples, cache)[1].item()) < 1e-6


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
@pytest.mark.parametrize("engine", ENGINES)
def test_prediction_multiplies_by_one_plus_s(tiny, bank, tmp_path, task, engine):
    """Learned scales and Fixed-Amp (x 2), against a stock model with scaled columns."""
    instances = make_instances(task)
    evaluator = tiny.evaluator(task, engine=engine)
    frame = pd.concat([bank.frame("fixed_amp", [1.0] * 5), bank.frame("hones", SCALES)])
    shuffled = frame.sample(frac=1, random_state=0)
    found, _ = predict_steered(evaluator, instances, shuffled)
    artifacts.write(tmp_path / "steered.parquet", found, STEERED_PREDICTIONS, {})
    assert Counter(found["method"]) == {"base": 3, "fixed_amp": 3, "hones": 3}
    expected = {}
    weights = [layer.mlp.down_proj.weight for layer in tiny.layers]
    originals = [weight.detach().clone() for weight in weights]
    for method, factors in {
        "base": [1.0] * 5,
        "fixed_amp": [2.0] * 5,
        "hones": [1 + scale for scale in SCALES],
    }.items():
        with torch.no_grad():
            for (layer, neuron), factor in zip(NEURONS, factors, strict=True):
                weights[layer][:, neuron] *= factor
            for item in instances:
                expected[method, item.instance_id] = answer(tiny, evaluator, item)
            for weight, original in zip(weights, originals, strict=True):
                weight.copy_(original)
    assert {(row.method, row.instance_id): row.prediction for row in found.itertuples()} == expected
    assert (
        len(
            {
                tuple(v for (m, _), v in expected.items() if m == method)
                for method in ("base", "fixed_amp", "hones")
            }
        )
        > 1
    )


def answer(tiny, evaluator, item) -> str:
    """The stock model's answer; for retrieval the candidate of the largest margin."""
    if evaluator.task_name != "retrieval":
        return stock_answer(tiny, evaluator, item)
    margins = []
    for candidate in item.candidates:
        text = evaluator.text(item, candidate)
        yes, no = (ids_in_context(tiny, text, word)[0] for word in ("Yes", "No"))
        logits = stock_logits(tiny, item.image, text)[-1]
        margins.append((logits[yes] - logits[no]).item())
    return item.candidates[margins.index(max(margins))]
