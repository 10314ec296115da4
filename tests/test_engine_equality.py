"""The fast engine against the plain path: every head of a model on 64 samples of every task."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from engine_support import (
    ENGINES,
    ROUNDING,
    Jointly,
    draw_photographs,
    random_instances,
    remembered,
    watched,
)

from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.attribution.rankers import Measurements, rank_neurons
from hones_core.engine.at_once import Limits
from hones_core.engine.interventions import MeanReplaceHead, ScaleNeurons, ZeroNeurons
from hones_core.head_ranking import rank_heads
from hones_core.heads import measure_head_effects
from hones_core.predictions import outcomes_under
from hones_core.tasks import TASKS

pytest_plugins = ["model_fixtures"]

SAMPLES = 64
LIMITS = Limits(copies=4, decode_rows=48, candidate_rows=2)


@pytest.fixture(scope="session")
def photographs(tmp_path_factory):
    return draw_photographs(tmp_path_factory.mktemp("photographs"), SAMPLES)


@pytest.fixture
def models(family, photographs, monkeypatch):
    """A model whose evaluators look at the photographs, each prompt being prepared only once."""
    for name in ("inputs", "encode"):
        monkeypatch.setattr(family.adapter, name, remembered(getattr(family.adapter, name)))
    return replace(family, images=photographs)


def evaluators(models, task) -> dict:
    """Without a margin no fast result is made again the plain way."""
    options = {"batch_size": 32, "max_new_tokens": 5, "limits": LIMITS}
    return {engine: watched(models, task, engine, **options) for engine in ENGINES}


def samples(models, task) -> list:
    """Random instances, of which every second is answered as the unchanged model answers it.

    So the model has something to lose.
    """
    instances = random_instances(task, SAMPLES)
    if task == "retrieval":
        return instances
    said = outcomes_under(evaluators(models, task)["fast"], instances, {"base": None})
    return [
        replace(item, references=(outcome.prediction,) * len(item.references))
        if index % 2 and outcome.prediction.strip()
        else item
        for index, (item, (_, outcome)) in enumerate(zip(instances, said, strict=True))
    ]


def assert_equal_results(found: list, expected: list) -> None:
    """The same tokens; log-probabilities and margins but for rounding."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        if hasattr(one, "tokens"):
            assert one.tokens == other.tokens
            for name in ("target_logprob", "first_logprob"):
                expected = pytest.approx(getattr(other, name), abs=ROUNDING, nan_ok=True)
                assert getattr(one, name) == expected
        else:
            assert one.margins == pytest.approx(other.margins, abs=ROUNDING)
            assert one.positive_logprob == pytest.approx(other.positive_logprob, abs=ROUNDING)


@pytest.mark.parametrize("task", TASKS)
def test_every_head_on_every_sample(models, task):
    """Answers, utilities and log-probabilities, and the rankings that follow from them."""
    both, instances = evaluators(models, task), samples(models, task)
    effects = {
        engine: measure_head_effects(evaluator, instances) for engine, evaluator in both.items()
    }
    fast, plain = effects["fast"], effects["plain"]
    adapter = models.adapter
    assert len(fast) == (adapter.n_layers * adapter.n_heads + 1) * SAMPLES
    assert_equal_results(both["fast"].seen, both["plain"].seen)
    for column in ("layer", "head", "instance_id", "utility"):
        assert fast[column].tolist() == plain[column].tolist()
    for column in ("target_logprob", "first_token_logprob"):
        np.testing.assert_allclose(fast[column], plain[column], atol=ROUNDING, rtol=0)
    base = plain[plain["layer"] < 0]
    assert 0 < base["utility"].mean() < 1
    unchanged = plain["instance_id"].map(base.set_index("instance_id")["utility"])
    assert (plain["utility"] != unchanged).mean() > 0.05
    for utility in ("task_metric", "target_logprob", "first_token_prob"):
        rankings = {
            engine: rank_heads(frame, utility, top_k=3) for engine, frame in effects.items()
        }
        columns = ["layer", "head", "rank", "selected"]
        assert rankings["fast"][columns].equals(rankings["plain"][columns])
    assert_equal_neurons(both, instances, rankings["plain"])


def assert_equal_neurons(both, instances, ranking) -> None:
    """The neurons' order from the selected heads, and the effects behind it."""
    heads = ranking.loc[ranking["selected"], ["layer", "head"]].itertuples(index=False, name=None)
    heads = list(heads)
    orders, effects = {}, {}
    for engine, evaluator in both.items():
        effects[engine] = measure_neuron_effects(evaluator, instances, instances, heads)
        measured = Measurements(ranking, effects[engine], None)
        orders[engine] = rank_neurons(measured, ["hones"], [0])
    for column in ("contribution", "drop"):
        found, expected = effects["fast"][column], effects["plain"][column]
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)
    places = [list(zip(o["layer"], o["neuron"], strict=True)) for o in orders.values()]
    assert places[0] == places[1]
    scores = orders["plain"]["score"].tolist()
    assert all(high >= low for high, low in pairwise(scores))
    assert scores[0] > 1e-3


def joint_interventions(adapter) -> dict:
    """Neurons of all layers and of one, several heads, both; in every layer."""
    generator = torch.Generator().manual_seed(4)
    found = {}
    for first in range(adapter.n_layers):
        layers = range(first, adapter.n_layers)
        drawn = {layer: torch.randperm(adapter.n_neurons, generator=generator) for layer in layers}
        zeroed = ZeroNeurons({layer: order[:7] for layer, order in drawn.items()})
        scales = torch.randn(adapter.n_layers, 5, generator=generator)
        bank = {layer: (order[8:13], scales[layer]) for layer, order in drawn.items()}
        last = Jointly(tuple(MeanReplaceHead(layer, layer, "last") for layer in layers))
        both = Jointly((MeanReplaceHead(first, 1), MeanReplaceHead(first, 3), zeroed))
        found |= {
            f"zeroed from {first}": zeroed,
            f"zeroed in {first}": ZeroNeurons({first: drawn[first][:9]}),
            f"scaled from {first}": ScaleNeurons(bank),
            f"faintly scaled from {first}": faint(bank),
            f"heads from {first}, last": last,
            f"heads and neurons from {first}": both,
            f"head of {first}, last": MeanReplaceHead(first, 2, "last"),
        }
    return {"base": None, **found, "nothing": ZeroNeurons({})}


def faint(bank: dict) -> ScaleNeurons:
    """A change so small that answers leave the draft late or never."""
    return ScaleNeurons({layer: (index, 0.1 * scales) for layer, (index, scales) in bank.items()})


@pytest.mark.parametrize("task", TASKS)
def test_joint_interventions_in_one_call(models, task):
    instances = samples(models, task)[:12]
    interventions = joint_interventions(models.adapter)
    found = {}
    for engine, evaluator in evaluators(models, task).items():
        found[engine] = evaluator.results_under(evaluator.prepare(instances), interventions)
    changed = 0
    for label in interventions:
        assert_equal_results(found["fast"][label], found["plain"][label])
        changed += found["plain"][label] != found["plain"]["base"]
    assert list(found["fast"]) == list(interventions)
    assert found["fast"]["nothing"] == found["fast"]["base"] or task != "retrieval"
    assert changed >= len(interventions) - 2 - models.adapter.n_layers


@pytest.mark.parametrize("task", ["caption", "retrieval"])
def test_limits_and_batches_change_nothing(models, task):
    """Work split in other ways: the same answers, as close as rounding."""
    instances = samples(models, task)[:12]
    interventions = dict(list(joint_interventions(models.adapter).items())[::3])
    expected = None
    for batch_size, limits in (
        (12, LIMITS),
        (5, Limits(1, 1, 1)),
        (4, Limits(3, 5, 3)),
        (24, Limits(64, 512, 64)),
    ):
        evaluator = watched(models, task, "fast", batch_size, 5, limits=limits)
        found = {label: [] for label in interventions}
        for chunk in evaluator.chunks(instances):
            results = evaluator.results_under(evaluator.prepare(chunk), interventions)
            for label, own in results.items():
                found[label] += own
        for label, results in (expected or found).items():
            assert_equal_results(found[label], results)
        expected = expected or found
