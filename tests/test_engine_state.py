"""What a run leaves behind: nothing, also where it is broken off; and errors that say where."""

from collections.abc import Callable
from contextlib import contextmanager

import pytest
import torch
from engine_support import ENGINES, hooks_of, small_limits, watched
from model_support import make_instances, outcomes_of

from hones_core.engine.activations import LastTokenActivations
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons
from hones_core.steering.bank import Bank
from hones_core.steering.training import Training, learn_scales

pytest_plugins = ["model_fixtures"]

INTERVENTIONS = {
    "head": MeanReplaceHead(0, 1),
    "base": None,
    "top head, last": MeanReplaceHead(1, 2, "last"),
    "neurons": ZeroNeurons.of([(0, 3), (1, 4), (1, 5)]),
    "scaled": ScaleNeurons({1: (torch.tensor([2, 9]), torch.tensor([1.5, -2.0]))}),
}


class Broken(Exception):
    """What a test raises inside a layer."""


@contextmanager
def breaking(adapter, error: type[BaseException], at: int):
    """The model raises at its `at`-th call of an FFN; yields the number of calls so far."""
    calls = [0]

    def count(_module, _args):
        calls[0] += 1
        if calls[0] == at:
            raise error

    handles = [layer.mlp.register_forward_pre_hook(count) for layer in adapter.layers]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def operations(models, engine: str) -> dict[str, Callable]:
    """Everything that runs the model; what is prepared before is prepared here."""
    vqa = watched(models, "vqa", engine, limits=small_limits())
    closest = watched(models, "vqa", engine, close_margin=1e9)
    ranking = watched(models, "retrieval", engine, limits=small_limits())
    questions, queries = make_instances("vqa"), make_instances("retrieval")
    answers, settled = vqa.prepare(questions), closest.prepare(questions[:1])
    ranked = ranking.prepare(queries)
    bank = Bank(frozenset([(0, 2), (1, 3)]))
    training = Training(epochs=1, batch_size=3)

    def activations():
        with torch.no_grad():
            list(LastTokenActivations(vqa, questions).under({0: MeanReplaceHead(0, 1)}))

    return {
        "prepare": lambda: vqa.prepare(questions),
        "prepare candidates": lambda: ranking.prepare(queries),
        "answers": lambda: vqa.outcomes_under(answers, INTERVENTIONS),
        "close calls": lambda: closest.outcomes_under(settled, {"": MeanReplaceHead(0, 1)}),
        "rankings": lambda: ranking.outcomes_under(ranked, INTERVENTIONS),
        "steering": lambda: learn_scales(vqa, questions, bank, training),
        "activations": activations,
    }


OPERATIONS = (
    "prepare",
    "prepare candidates",
    "answers",
    "close calls",
    "rankings",
    "steering",
    "activations",
)


@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_is_left_behind_wherever_it_breaks(tiny, name, engine, error):
    """At the first calls of a layer, at some in between, and at the last one."""
    adapter = tiny.adapter
    operation = operations(tiny, engine)[name]
    evaluator = watched(tiny, "vqa")
    hooks, before = hooks_of(adapter), evaluator.results(make_instances("vqa"))
    with breaking(adapter, error, at=0) as calls:
        operation()
    n = calls[0]
    assert (n == 0) == (engine == "plain" and name.startswith("prepare"))
    for at in sorted({1, 2, 3, n // 3, n // 2, n - 1, n} & set(range(1, n + 1))):
        with breaking(adapter, error, at), pytest.raises(error):
            operation()
        assert hooks_of(adapter) == hooks
        assert adapter.answer_positions is None
        assert not adapter.model.training
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    assert evaluator.results(make_instances("vqa")) == before


def runs_of(models) -> dict[tuple, Callable]:
    """By model, task, engine and intervention: how to get its outcomes, bit for bit."""
    found = {}
    for name, tiny in models.items():
        for task in ("caption", "retrieval"):
            for engine in ENGINES:
                evaluator = watched(tiny, task, engine, limits=small_limits())
                prepared = evaluator.prepare(make_instances(task))
                for label, intervention in INTERVENTIONS.items():

                    def run(evaluator=evaluator, prepared=prepared, intervention=intervention):
                        return outcomes_of(evaluator, prepared, intervention)

                    found[name, task, engine, label] = run
    return found


def test_interleaved_runs_change_nothing(tiny, grouped):
    """Two models, two tasks, both engines and all interventions, mixed in two orders."""
    runs = runs_of({"tiny": tiny, "grouped": grouped})
    alone = {key: run() for key, run in runs.items()}
    order = torch.randperm(len(runs), generator=torch.Generator().manual_seed(0)).tolist()
    keys = list(runs)
    for key in (keys[place] for place in order):
        assert runs[key]() == alone[key], key
    again = runs_of({"grouped": grouped, "tiny": tiny})  # prepared anew, the other one first
    for key in keys[::7]:
        assert again[key]() == alone[key], key


def test_training_between_predictions_changes_nothing(tiny):
    evaluator = watched(tiny, "vqa", limits=small_limits())
    instances = make_instances("vqa")
    prepared = evaluator.prepare(instances)
    before = evaluator.outcomes_under(prepared, INTERVENTIONS)
    bank, training = Bank(frozenset([(0, 2), (1, 3)])), Training(epochs=1, batch_size=3)
    first = learn_scales(evaluator, instances, bank, training)
    assert evaluator.outcomes_under(prepared, INTERVENTIONS) == before
    assert learn_scales(evaluator, instances, bank, training)[0] == first[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("task", ["caption", "retrieval"])
@pytest.mark.parametrize("engine", ENGINES)
def test_numbers_that_are_not_finite_name_the_instances(tiny, value, task, engine):
    """Whether the model breaks before it is prepared or after."""
    evaluator = watched(tiny, task, engine)
    instances = make_instances(task)
    prepared = evaluator.prepare(instances)

    def spoil(_module, args):
        return (args[0] * value,)

    handle = tiny.adapter.layers[-1].mlp.down_proj.register_forward_pre_hook(spoil)
    names = ", ".join(item.instance_id for item in instances)
    try:
        for label, intervention in INTERVENTIONS.items():
            with pytest.raises(FloatingPointError, match=f"in the batch of {names}"):
                outcomes_of(
                    evaluator,
                    evaluator.prepare(instances) if label == "base" else prepared,
                    intervention,
                )
            with pytest.raises(FloatingPointError, match=r"/0 breaks behind layer 1\)"):
                outcomes_of(evaluator, prepared, intervention or MeanReplaceHead(0, 0))
    finally:
        handle.remove()


@pytest.mark.parametrize("task", ["caption", "retrieval"])
def test_numbers_that_are_not_finite_in_a_close_call(tiny, monkeypatch, task):
    """Where the plain way breaks, what the fast engine found is not taken for it."""
    evaluator = watched(tiny, task, close_margin=1e9)
    prepared = evaluator.prepare(make_instances(task))
    inputs = tiny.adapter.inputs

    def spoilt(images, texts):
        found = inputs(images, texts)
        return found | {"pixel_values": found["pixel_values"] * float("nan")}

    monkeypatch.setattr(tiny.adapter, "inputs", spoilt)
    with pytest.raises(FloatingPointError, match=rf"NaN.*in the batch of {task}/0"):
        outcomes_of(evaluator, prepared, MeanReplaceHead(0, 1))
    assert tiny.adapter.answer_positions is None
