"""Learning scales: each step by hand, what a seed and an epoch give, and what is refused."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from engine_support import ENGINES
from model_support import make_instances
from steering_support import NEURONS, examples_of, loss_by_hand

from hones_core import artifacts
from hones_core.schemas.steering import STEERING_CURVE, STEERING_SCALES
from hones_core.steering import training as training_module
from hones_core.steering.bank import Bank, SteeringError
from hones_core.steering.examples import epoch_of_batches
from hones_core.steering.training import Training, cosine_to_tenth, learn_scales, loss_terms

pytest_plugins = ["model_fixtures"]

FAST = Training(learning_rate=0.05, epochs=6, batch_size=2, kl_weight=0.0)


@pytest.fixture
def bank():
    return Bank(frozenset(NEURONS))


def test_learning_lowers_the_loss_and_leaves_the_model_alone(tiny, bank, tmp_path):
    evaluator = tiny.evaluator("vqa")
    instances = make_instances("vqa")
    before = {name: value.clone() for name, value in tiny.adapter.model.state_dict().items()}
    scales, curve = learn_scales(evaluator, instances, bank, FAST)
    after = tiny.adapter.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    examples = examples_of("vqa")
    with torch.no_grad():
        start, _ = loss_terms(evaluator, bank, torch.zeros(len(NEURONS)), examples)
        end, _ = loss_terms(evaluator, bank, torch.tensor(scales).float(), examples)
    assert end < start - 0.02
    assert len(curve) == 6 * 2  # three instances in batches of two
    assert curve["step"].tolist() == list(range(12))
    curve = curve.assign(method="hones", seed=0)
    artifacts.write(tmp_path / "curve.parquet", curve, STEERING_CURVE, {})
    rows = bank.frame("hones", scales).assign(column_norm=1.0)
    artifacts.write(tmp_path / "scales.parquet", rows, STEERING_SCALES, {})


@pytest.mark.parametrize("engine", ENGINES)
def test_first_step_by_hand(tiny, bank, engine):
    """AdamW without decay moves each scale by the rate against its gradient's sign; then clamp."""
    evaluator = tiny.evaluator("vqa", engine=engine)
    instances = make_instances("vqa")[:2]
    training = Training(learning_rate=0.03, epochs=1, batch_size=2)
    scales, curve = learn_scales(evaluator, instances, bank, training)
    zeros = torch.zeros(len(NEURONS), requires_grad=True)
    cross_entropy, kl = loss_by_hand(tiny, evaluator, examples_of("vqa")[:2], zeros)
    (gradient,) = torch.autograd.grad(cross_entropy + 0.05 * kl, zeros)
    np.testing.assert_allclose(scales, -0.03 * gradient.sign(), rtol=1e-3)
    row = curve.iloc[0]
    assert row["cross_entropy"] == pytest.approx(cross_entropy.item(), abs=1e-5)
    assert row["kl"] == pytest.approx(0, abs=0 if engine == "plain" else 1e-6)
    assert (row["l2"], row["learning_rate"]) == (0, 0.03)
    assert row["max_abs_scale"] == pytest.approx(0.03, rel=1e-3)


def adamw_by_hand(tiny, evaluator, training, steps) -> list[torch.Tensor]:
    """The scales after each step, with the whole split in every batch."""
    examples = examples_of("vqa")
    scales = torch.zeros(len(NEURONS))
    mean, square = torch.zeros(len(NEURONS)), torch.zeros(len(NEURONS))
    history = []
    for step in range(steps):
        scales.requires_grad_()
        cross_entropy, kl = loss_by_hand(tiny, evaluator, examples, scales)
        penalty = training.l2_weight * sum(s**2 for s in scales)
        (gradient,) = torch.autograd.grad(cross_entropy + training.kl_weight * kl + penalty, scales)
        norm = gradient.norm()
        if norm > training.clip_norm:
            gradient = gradient * training.clip_norm / norm
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        first = mean / (1 - 0.9 ** (step + 1))
        second = square / (1 - 0.999 ** (step + 1))
        rate = training.learning_rate * (
            0.1 + 0.9 * (1 + math.cos(math.pi * step / (steps - 1))) / 2
        )
        scales = (scales - rate * first / (second.sqrt() + 1e-8)).detach()
        history.append(scales)
    return history


@pytest.mark.parametrize(
    ("engine", "clip_norm"), [("fast", 1e-4), ("fast", 0.15), ("fast", 100.0), ("plain", 0.15)]
)
def test_learning_by_hand(tiny, bank, engine, clip_norm):
    """AdamW without decay, clipped, on cross-entropy + KL + L2 with a falling rate."""
    evaluator = tiny.evaluator("vqa", engine=engine)
    training = Training(
        learning_rate=0.1,
        epochs=5,
        batch_size=3,
        kl_weight=0.5,
        l2_weight=0.05,
        clip_norm=clip_norm,
    )
    scales, curve = learn_scales(evaluator, make_instances("vqa"), bank, training)
    history = adamw_by_hand(tiny, evaluator, training, 5)
    np.testing.assert_allclose(scales, history[-1], atol=2e-4)
    for step, after in enumerate(history):
        assert curve["max_abs_scale"][step] == pytest.approx(after.abs().max().item(), abs=2e-4)
    for step, before in enumerate(history[:-1], start=1):
        cross_entropy, kl = loss_by_hand(tiny, evaluator, examples_of("vqa"), before)
        assert curve["cross_entropy"][step] == pytest.approx(cross_entropy.item(), abs=1e-3)
        assert curve["kl"][step] == pytest.approx(kl.item(), abs=1e-3)
        assert curve["l2"][step] == pytest.approx(sum(s**2 for s in before.tolist()), abs=1e-3)


def largest(tiny, bank, **changes) -> float:
    scales, _ = learn_scales(
        tiny.evaluator("vqa"), make_instances("vqa"), bank, replace(FAST, **changes)
    )
    return max(abs(scale) for scale in scales)


def test_large_penalties_keep_scales_small(tiny, bank):
    free = largest(tiny, bank, epochs=20)
    assert free > 0.3
    assert largest(tiny, bank, epochs=20, kl_weight=1e6) < 0.25 * free
    assert largest(tiny, bank, epochs=20, l2_weight=1e6) < 0.25 * free


def test_clamp_and_sign(tiny, bank):
    strong = replace(FAST, learning_rate=1.0)
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    scales, curve = learn_scales(evaluator, instances, bank, strong)
    assert min(scales) == -1.5 or max(scales) == 1.5
    assert max(abs(scale) for scale in scales) <= 1.5
    assert curve["max_abs_scale"].max() == 1.5
    assert min(scales) < -1  # 1 + s is negative: the sign may flip
    kept, _ = learn_scales(evaluator, instances, bank, replace(strong, allow_sign_flip=False))
    assert min(kept) == -1
    narrow = replace(strong, allow_sign_flip=False, max_abs_scale=0.5)
    assert max(abs(scale) for scale in learn_scales(evaluator, instances, bank, narrow)[0]) == 0.5


def test_learning_rate_is_a_cosine_to_a_tenth(tiny, bank):
    rates = [cosine_to_tenth(2.0, step, 5) for step in range(5)]
    expected = [0.2 + 1.8 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(5)]
    assert rates == pytest.approx(expected)
    assert rates[0] == 2.0
    assert rates[-1] == pytest.approx(0.2)
    assert cosine_to_tenth(2.0, 0, 1) == 2.0
    _, curve = learn_scales(tiny.evaluator("vqa"), make_instances("vqa"), bank, FAST)
    assert curve["learning_rate"].iloc[-1] == pytest.approx(0.005)


def test_the_seed_determines_everything(tiny, bank):
    evaluator = tiny.evaluator("caption")
    instances = make_instances("caption")
    runs = [
        learn_scales(evaluator, instances, bank, replace(FAST, epochs=2, seed=seed))
        for seed in (1, 1, 2)
    ]
    assert runs[0][0] == runs[1][0]
    pd.testing.assert_frame_equal(runs[0][1], runs[1][1], check_exact=True)
    assert runs[0][0] != runs[2][0]


def epochs_of(tiny, task, training, n_epochs=1, n=3):
    generator = np.random.default_rng(training.seed)
    evaluator = tiny.evaluator(task)
    return [
        epoch_of_batches(
            evaluator,
            make_instances(task, n),
            training.batch_size,
            training.negatives_per_query,
            generator,
        )
        for _ in range(n_epochs)
    ]


def test_every_instance_once_an_epoch(tiny):
    first, second = epochs_of(tiny, "vqa", Training(batch_size=2), 2, n=5)
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [2, 2, 1]
        seen = [example.instance.instance_id for batch in batches for example in batch]
        assert sorted(seen) == [f"vqa/{i}" for i in range(5)]
    assert first != second
    assert {e.target for batch in first for e in batch} == {"red", "no", "a very odd zebra"}


def test_a_random_reference_of_the_caption_each_epoch(tiny):
    chosen: dict[str, set] = {}
    for batches in epochs_of(tiny, "caption", Training(), 12):
        for example in (example for batch in batches for example in batch):
            assert example.target in example.instance.references
            chosen.setdefault(example.instance.instance_id, set()).add(example.target)
    assert all(len(targets) > 2 for targets in chosen.values())


def test_retrieval_examples_are_one_yes_and_four_no(tiny):
    for batches in epochs_of(tiny, "retrieval", Training(), 3):
        examples = [example for batch in batches for example in batch]
        for item in make_instances("retrieval"):
            own = [e for e in examples if e.instance == item]
            negatives = len(item.candidates) - 1
            assert Counter(e.target for e in own) == {"Yes": 1, "No": min(4, negatives)}
            positive = item.candidates[item.positive_index]
            assert [e.candidate for e in own if e.target == "Yes"] == [positive]
            wrong = [e.candidate for e in own if e.target == "No"]
            assert len(set(wrong)) == len(wrong)
            assert set(wrong) <= set(item.candidates) - {positive}


def test_refusals(tiny, bank, monkeypatch):
    with pytest.raises(SteeringError, match="bank is empty"):
        Bank(frozenset())
    evaluator = tiny.evaluator("vqa")
    with pytest.raises(
        SteeringError, match="3 development instances are fewer than one batch of 4"
    ):
        learn_scales(evaluator, make_instances("vqa"), bank, Training())

    def broken(_, __, scales, *___):
        return scales.sum() * float("nan"), scales.sum()

    monkeypatch.setattr(training_module, "loss_terms", broken)
    with pytest.raises(SteeringError, match="at step 0 the loss is nan"):
        learn_scales(evaluator, make_instances("vqa"), bank, FAST)


def test_a_gradient_that_is_not_finite_stops_with_an_error(tiny, bank, monkeypatch):
    """The loss is still a number; the scales after the step would not be."""

    def steep(_, __, scales, *___):
        return scales.square().sum().sqrt(), scales.sum()  # the slope of a root at 0

    monkeypatch.setattr(training_module, "loss_terms", steep)
    with pytest.raises(
        SteeringError, match=r"at step 0 the loss is 0\.0 and the norm of its gradient nan"
    ):
        learn_scales(tiny.evaluator("vqa"), make_instances("vqa"), bank, FAST)


@pytest.mark.parametrize("engine", ENGINES)
def test_broken_logits_stop_learning(tiny, bank, engine):
    norm = tiny.adapter.language_model.norm.weight
    before = norm[0].item()
    try:
        norm[0] = float("nan")
        with pytest.raises(FloatingPointError, match="NaN"):
            evaluator = tiny.evaluator("vqa", engine=engine)
            learn_scales(evaluator, make_instances("vqa"), bank, FAST)
    finally:
        norm[0] = before
