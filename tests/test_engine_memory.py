"""When memory runs out, the same outcomes are found with less at once."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from model_support import make_instances

from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.engine.at_once import Limits
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import MeanReplaceHead, ZeroNeurons
from hones_core.engine.joint import JointEvaluator
from hones_core.engine.memory import NotEnoughMemoryError, lowered
from hones_core.steering.bank import Bank
from hones_core.steering.training import Training, learn_scales

pytest_plugins = ["model_fixtures"]

JOINT = "vqa+caption"
TASKS = ("vqa", "caption", "retrieval", JOINT)
LIMITS = Limits(copies=4, decode_rows=8, candidate_rows=3)


@pytest.fixture
def cramped(tiny):
    """Let the top layer's FFN, and so every pass, run out of memory beyond so many columns."""
    hooks = []

    def limit(columns: int, error: type = torch.OutOfMemoryError, place: int = -1) -> list[int]:
        failures = []

        def check(_module, args):
            rows, own = args[0].shape[:2]
            if rows * own > columns:
                failures.append(rows * own)
                raise error("can't allocate memory: tried to allocate 20.00 GiB.\nDetails")

        hooks.append(tiny.adapter.layers[place].mlp.register_forward_pre_hook(check))
        return failures

    yield limit
    for hook in hooks:
        hook.remove()


def evaluator_of(tiny, task, limits=LIMITS) -> Evaluator | JointEvaluator:
    if task == JOINT:
        return JointEvaluator([evaluator_of(tiny, one, limits) for one in JOINT.split("+")])
    size = 4 * LIMITS.candidate_rows if task == "retrieval" else 4
    return Evaluator(tiny.adapter, task, tiny.images, size, 6, limits=limits)


def instances_of(task, images) -> list:
    """The task's, or of the joint tasks both of every image."""
    return [one for own in task.split("+") for one in make_instances(own, images)]


def interventions() -> dict:
    found: dict = {"base": None, "mask": ZeroNeurons.of([(0, 3), (1, 5)])}
    return found | {
        (layer, head): MeanReplaceHead(layer, head) for layer in range(2) for head in (0, 3)
    }


def outcomes(evaluator, instances) -> dict:
    return evaluator.outcomes_under(evaluator.prepare(instances), interventions())


def assert_same(found, expected):
    assert list(found) == list(expected)
    for label, own in expected.items():
        for one, other in zip(found[label], own, strict=True):
            assert (one.instance_id, one.prediction) == (other.instance_id, other.prediction)
            assert one.utility == other.utility
            for name in ("target_logprob", "first_token_logprob"):
                pair = getattr(one, name), getattr(other, name)
                assert math.isclose(*pair, abs_tol=1e-4), (label, name)


def columns_of_one(tiny, task, place=-1) -> int:
    """The most columns that a single sample, run with one of everything, has in that layer."""
    most = []
    hook = tiny.adapter.layers[place].mlp.register_forward_pre_hook(
        lambda _module, args: most.append(args[0].shape[0] * args[0].shape[1])
    )
    try:
        evaluator = evaluator_of(tiny, task, Limits(1, 1, LIMITS.candidate_rows))
        instances = instances_of(task, 3)
        for index in range(3):
            outcomes(evaluator, [one for one in instances if one.image_id == index])
    finally:
        hook.remove()
    return max(most)


@pytest.mark.parametrize("task", TASKS)
def test_outcomes_do_not_depend_on_it(tiny, cramped, capsys, task):
    instances = instances_of(task, 4)
    expected = outcomes(evaluator_of(tiny, task), instances)
    least = columns_of_one(tiny, task, 0)
    capsys.readouterr()
    for columns in (least, 3 * least):
        failures = cramped(columns, place=0)
        evaluator = evaluator_of(tiny, task)
        assert_same(outcomes(evaluator, instances), expected)
        said = capsys.readouterr().err.splitlines()
        assert failures and len(said) == len(failures)  # one line each
        assert all(line.startswith("out of memory: from here on ") for line in said)
        assert all("Details" not in line for line in said)
        assert_same(outcomes(evaluator, instances), expected)  # and knows better the next time
        assert len(capsys.readouterr().err.splitlines()) <= 1
        tiny.adapter.layers[0].mlp._forward_pre_hooks.clear()


@pytest.mark.parametrize("task", ["caption", JOINT])
def test_less_at_once_in_order(tiny, cramped, capsys, task):
    """First interventions, then decoded rows, then samples; a joint one is an image."""
    evaluator = evaluator_of(tiny, task)
    prepared = evaluator.prepare(instances_of(task, 4))
    cramped(columns_of_one(tiny, task, 0), place=0)
    capsys.readouterr()
    evaluator.outcomes_under(prepared, interventions())
    said = [line.partition(" (")[0] for line in capsys.readouterr().err.splitlines()]
    start = "out of memory: from here on "
    assert said[:2] == [
        f"{start}2 interventions and 8 decoded rows at once",
        f"{start}1 interventions and 8 decoded rows at once",
    ]
    assert said[-2:] == [f"{start}2 samples at once", f"{start}1 samples at once"]
    assert [len(part.samples) for part in prepared.parts] == [1, 1, 1, 1]


def test_the_lowest_limits():
    assert lowered(Limits(8, 64), 4, 3, True) == Limits(1, 64)
    assert lowered(Limits(8, 64), 4, 100, True) == Limits(4, 64)
    assert lowered(Limits(1, 64), 4, 2, True) == Limits(1, 4)
    assert lowered(Limits(1, 64), 1, 1, True) is None
    assert lowered(Limits(1, 64), 4, 9, False) is None


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_one_instance_too_many(tiny, cramped, error):
    cramped(3, error)
    evaluator = evaluator_of(tiny, "vqa")
    instances = make_instances("vqa", 2)
    with pytest.raises(NotEnoughMemoryError, match=r"vqa/0.* need about .* GB .*free.*float16"):
        outcomes(evaluator, instances)
    modules = tiny.adapter.model.modules()
    assert sum(len(module._forward_pre_hooks) for module in modules) == 1  # the fixture's
    assert tiny.adapter.answer_positions is None


def test_one_image_too_many(tiny, cramped):
    """Of joint tasks, whose row has the columns of both questions."""
    cramped(max(columns_of_one(tiny, task) for task in JOINT.split("+")))
    remedy = r"tasks apart \(heads.joint_tasks: \[\]\)"
    message = rf"instances 'vqa/1' and 'caption/1', about image '1.png', do not fit .* {remedy}"
    with pytest.raises(NotEnoughMemoryError, match=message):
        outcomes(evaluator_of(tiny, JOINT), instances_of(JOINT, 2))


def test_other_errors_are_not_taken_for_it(tiny, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr("hones_core.engine.fast.trace_answers", broken)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        evaluator_of(tiny, "vqa").prepare(make_instances("vqa", 2))


def test_neuron_effects_do_not_depend_on_it(tiny, cramped, capsys):
    instances, heads = make_instances("vqa", 4), [(0, 0), (0, 2), (1, 1)]
    expected = measure_neuron_effects(evaluator_of(tiny, "vqa"), instances, instances, heads)
    columns = max(evaluator_of(tiny, "vqa").encode([one]).input_ids.shape[1] for one in instances)
    failures = cramped(columns, place=0)
    capsys.readouterr()
    found = measure_neuron_effects(evaluator_of(tiny, "vqa"), instances, instances, heads)
    said = capsys.readouterr().err
    assert failures and "1 interventions" in said and "1 samples at once" in said
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("task", ["vqa", "retrieval"])
def test_steering_does_not_depend_on_it(tiny, cramped, capsys, task):
    instances = make_instances(task, 4)
    bank = Bank(frozenset([(0, 1), (0, 7), (1, 3)]))
    training = Training(learning_rate=0.05, epochs=2, negatives_per_query=1)
    scales, curve = learn_scales(evaluator_of(tiny, task), instances, bank, training)
    most = []
    hook = tiny.adapter.layers[0].mlp.register_forward_pre_hook(
        lambda _module, args: most.append(args[0].shape[0] * args[0].shape[1])
    )
    evaluator = evaluator_of(tiny, task)
    learn_scales(evaluator, instances, bank, replace(training, batch_size=1, epochs=1))
    hook.remove()
    failures = cramped(max(most), place=0)
    capsys.readouterr()
    found, found_curve = learn_scales(evaluator_of(tiny, task), instances, bank, training)
    assert failures and "1 examples at once" in capsys.readouterr().err
    assert found == pytest.approx(scales, abs=1e-5)
    pd.testing.assert_frame_equal(found_curve, curve, rtol=1e-4, atol=1e-6)


def test_an_example_of_steering_too_many(tiny, cramped):
    cramped(3)
    with pytest.raises(NotEnoughMemoryError, match=r"examples at once.*float16"):
        learn_scales(
            evaluator_of(tiny, "vqa"),
            make_instances("vqa", 4),
            Bank(frozenset([(0, 1)])),
            Training(epochs=1),
        )
