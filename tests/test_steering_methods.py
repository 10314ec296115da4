"""All methods of one learning step: matched budgets, choices on development only, resuming."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from model_support import CAPTIONS, make_instances

from hones_core import artifacts
from hones_core.dominant_groups import select_dominant_groups
from hones_core.engine.interventions import applied
from hones_core.engine.plain import forced_logits
from hones_core.neuron_sets import overlap_groups
from hones_core.partial import Parts
from hones_core.schemas.steering import (
    SIDE_EFFECT_PREDICTIONS,
    STEERED_PREDICTIONS,
    STEERING_CURVE,
    STEERING_GATES,
    STEERING_SCALES,
    STEERING_SEARCH,
)
from hones_core.steering import methods, training
from hones_core.steering.bank import Bank, SteeringError, choose_bank, random_bank
from hones_core.steering.examples import first_examples
from hones_core.steering.methods import Learned, Options, learn_methods
from hones_core.steering.prediction import predict_steered
from hones_core.steering.training import Training, _forced, learn_scales, loss_terms
from hones_core.tasks.instances import Instance

pytest_plugins = ["model_fixtures"]

BANK = Bank(frozenset([(0, 2), (0, 19), (1, 3), (1, 4), (1, 11)]))
SMALL = Bank(frozenset([(0, 2), (1, 4)]))
TRAINING = Training(learning_rate=0.05, epochs=2, batch_size=2)
OPTIONS = Options([0.05], [0.5, 1, 2], 2.0, [0, 1])
FRAMES = {
    "scales": STEERING_SCALES,
    "curve": STEERING_CURVE,
    "gates": STEERING_GATES,
    "search": STEERING_SEARCH,
}


@pytest.fixture(scope="module")
def learned(tiny) -> Learned:
    return learn_methods(tiny.evaluator("vqa"), make_instances("vqa"), [BANK], TRAINING, OPTIONS)


def assert_same(one: Learned, other: Learned) -> None:
    for name in FRAMES:
        found, expected = (getattr(each, name).reset_index(drop=True) for each in (one, other))
        pd.testing.assert_frame_equal(found, expected, check_exact=True)


def rows(frame: pd.DataFrame, method: str, seed: int = 0) -> pd.DataFrame:
    return frame[(frame["method"] == method) & (frame["seed"] == seed)]


def test_every_method_has_the_same_budget(tiny, learned, tmp_path):
    for name, schema in FRAMES.items():
        artifacts.write(tmp_path / f"{name}.parquet", getattr(learned, name), schema, {})
    per_layer = {0: 2, 1: 3}
    sizes = learned.scales.groupby(["method", "seed"]).size().to_dict()
    assert sizes == dict.fromkeys(
        [(name, 0) for name in ("fixed_amp", "grid_search", "hones", "hones_nokl")]
        + [("random", 0), ("random", 1)],
        5,
    )
    banks = set()
    for seed in (0, 1):
        random = rows(learned.scales, "random", seed)
        assert random["layer"].value_counts().to_dict() == per_layer
        neurons = set(zip(random["layer"], random["neuron"], strict=True))
        assert not neurons & set(BANK.neurons)
        banks.add(frozenset(neurons))
    assert len(banks) == 2
    assert set(rows(learned.scales, "fixed_amp")["scale"]) == {1.0}
    weight = tiny.adapter.layers[1].mlp.down_proj.weight
    row = learned.scales.query("method == 'hones' and layer == 1 and neuron == 11").iloc[0]
    assert row["column_norm"] == pytest.approx(weight[:, 11].norm().item(), rel=1e-6)


def test_each_learned_method_is_a_learning_of_its_own(tiny, learned):
    """With the shared cache as without one; only bank and KL weight differ."""
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    for method, seed, bank, weight in (
        ("hones", 0, BANK, 0.05),
        ("hones_nokl", 0, BANK, 0.0),
        ("random", 1, random_bank(BANK, tiny.adapter, "vqa", 1), 0.05),
    ):
        scales, curve = learn_scales(
            evaluator, instances, bank, replace(TRAINING, kl_weight=weight)
        )
        found = rows(learned.scales, method, seed).sort_values(["layer", "neuron"])
        np.testing.assert_allclose(found["scale"], scales, atol=1e-5)
        own = rows(learned.curve, method, seed)
        np.testing.assert_allclose(own["cross_entropy"], curve["cross_entropy"], atol=1e-4)
        gates = rows(learned.gates, method, seed).iloc[0]
        assert gates["n_steps"] == len(curve) == 4
        assert gates["mean_abs_scale"] == pytest.approx(np.abs(scales).mean(), abs=1e-5)


def test_what_is_chosen_has_the_best_development_score(tiny, monkeypatch):
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    given = {  # scores in the order in which candidates are asked for
        "sizes": [0.3, 0.5, 0.5, 0.1],
        "development": [0.2, 0.4, 0.2, 0.2, 0.4, 0.3, 0.3, 0.3],
    }
    monkeypatch.setattr(methods._Learner, "scores", lambda _, runs, name: given[name][: len(runs)])
    options = replace(OPTIONS, kl_weights=[0.05, 0.5])
    found = learn_methods(evaluator, instances, [SMALL, BANK], TRAINING, options)
    search = found.search[found.search["method"] == "hones"]
    assert search["n_neurons"].tolist() == [2, 2, 5, 5]
    assert search["kl_weight"].tolist() == [0.05, 0.5, 0.05, 0.5]
    assert search["development_score"].tolist() == given["sizes"]
    assert search["chosen"].tolist() == [False, True, False, False]  # of equal ones the first
    grid = found.search[found.search["method"] == "grid_search"]
    assert grid["factor"].tolist() == [1, 0.5, 2]  # the least change first
    assert grid["chosen"].tolist() == [False, False, True]
    assert set(rows(found.scales, "grid_search")["scale"]) == {1.0}
    assert set(found.scales.groupby(["method", "seed"]).size()) == {2}
    assert (rows(found.gates, "random", 1)["n_neurons"] == 2).all()
    kept = found.search[found.search["chosen"]].set_index(["method", "seed"])
    assert set(kept.index) == {
        *((name, 0) for name in ("base", "fixed_amp", "grid_search", "hones", "hones_nokl")),
        *(("random", seed) for seed in (0, 1)),
    }
    assert kept.loc[("random", 0), "kl_weight"] == 0.5


def test_development_scores_are_those_of_predictions(tiny, learned):
    """Base, factor and learned scales, against the predictions that test would get."""
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    steered, _ = predict_steered(evaluator, instances, learned.scales)
    for (method, seed), own in steered.groupby(["method", "seed"]):
        total = np.sum(own["statistics"].tolist(), axis=0)
        chosen = rows(learned.search, method, seed).query("chosen").iloc[0]
        assert chosen["development_score"] == pytest.approx(evaluator.task.score(total, len(own)))


def test_quick_learns_a_few_steps_and_tries_little(tiny):
    options = replace(OPTIONS, kl_weights=[0.05, 0.5], quick=True)
    training = replace(TRAINING, epochs=40)
    found = learn_methods(
        tiny.evaluator("vqa"), make_instances("vqa"), [SMALL, BANK], training, options
    )
    assert set(found.gates["n_steps"]) == {methods.QUICK_STEPS}
    assert set(found.gates["n_neurons"]) == {2}


class Interrupted(Exception):
    pass


def test_a_killed_job_goes_on_where_it_was(tiny, learned, tmp_path, monkeypatch):
    """To the same bits; what was learned is not learned again."""
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    arguments = (evaluator, instances, [BANK], TRAINING, OPTIONS)
    steps, limit = [], 7  # the second run's third step

    def counted(*given):
        if len(steps) == limit:
            raise Interrupted
        steps.append(1)
        return backward(*given)

    backward = training._backward
    monkeypatch.setattr(training, "_backward", counted)
    with pytest.raises(Interrupted):
        learn_methods(*arguments, Parts(tmp_path / "kept", "key", every_seconds=0))
    limit = None
    resumed = learn_methods(*arguments, Parts(tmp_path / "kept", "key", every_seconds=0))
    assert_same(resumed, learned)
    assert len(steps) == 4 * 4  # four runs of four steps
    other = replace(TRAINING, learning_rate=0.01)
    learn_methods(*arguments[:3], other, OPTIONS, Parts(tmp_path / "kept", "key", 0))
    assert len(steps) == 2 * 4 * 4  # kept states of another training are not used


def swapped(instances: list[Instance], seed: int) -> list[Instance]:
    """The test instances with each other's labels, in another order; the others as they are."""
    generator = np.random.default_rng(seed)
    test = [one for one in instances if one.split == "test"]
    labels = [test[i].references for i in generator.permutation(len(test))]
    relabelled = [replace(one, references=label) for one, label in zip(test, labels, strict=True)]
    others = [one for one in instances if one.split != "test"]
    return [*others, *(relabelled[i] for i in generator.permutation(len(test)))]


def steered_from(tiny, instances: list[Instance]) -> Learned:
    """The whole way from masked predictions on: dominant group, bank, scales, choices."""
    evaluator = tiny.evaluator("vqa")
    sets = {"vqa": frozenset(BANK.neurons), "ocr": frozenset([(0, 2), (1, 3), (1, 4), (0, 5)])}
    groups = overlap_groups({**sets, "caption": frozenset([(0, 2), (1, 4), (1, 11)])})
    masked, base = [], []
    for one in instances:
        correct = float(one.references[0] in ("red", "no"))
        base.append((one.instance_id, one.split, [correct]))
        for group, value in (("vqa+ocr", 0.2), ("vqa+ocr+caption", 0.1), ("vqa+caption", 0.9)):
            masked.append((group, -1, 2, one.instance_id, one.split, [value * correct]))
    columns = ["instance_id", "split", "statistics"]
    dominant = select_dominant_groups(
        {"vqa": pd.DataFrame(base, columns=columns)},
        {"vqa": pd.DataFrame(masked, columns=["group", "trial", "n_neurons", *columns])},
        "development",
    )
    ranking = pd.DataFrame(
        [("hones", 0, rank, *neuron) for rank, neuron in enumerate(BANK.neurons)],
        columns=["ranker", "seed", "rank", "layer", "neuron"],
    )
    neurons = [choose_bank("vqa", groups, dominant, ranking, k, "refuse")[0] for k in (1, None)]
    development = [one for one in instances if one.split == "development"]
    options = replace(OPTIONS, kl_weights=[0.05, 0.5])
    return learn_methods(evaluator, development, [Bank(n) for n in neurons], TRAINING, options)


def test_no_choice_sees_test(tiny):
    instances = [
        replace(one, split="development" if number < 4 else "test")
        for number, one in enumerate(make_instances("vqa", 10))
    ]
    expected = steered_from(tiny, instances)
    for seed in (0, 1):
        assert_same(steered_from(tiny, swapped(instances, seed)), expected)
    fewer = [one for one in instances if one.split == "development"]
    fewer.append(instances[-1])
    assert_same(steered_from(tiny, fewer), expected)


def test_side_effects_and_divergence_on_test(tiny, learned, tmp_path):
    evaluator, instances = tiny.evaluator("caption"), make_instances("caption")
    own, other = learned.scales, learned.scales.assign(scale=learned.scales["scale"] * 4)
    steered, side = predict_steered(evaluator, instances, own, {"vqa": other, "ocr": own})
    artifacts.write(tmp_path / "steered.parquet", steered, STEERED_PREDICTIONS, {})
    artifacts.write(tmp_path / "side.parquet", side, SIDE_EFFECT_PREDICTIONS, {})
    assert side.groupby("steered_task").size().to_dict() == {"vqa": 3, "ocr": 3}
    same = steered[steered["method"] == "hones"].set_index("instance_id")["prediction"]
    from_ocr = side[side["steered_task"] == "ocr"].set_index("instance_id")["prediction"]
    assert same.to_dict() == from_ocr.to_dict()
    assert set(steered.query("method == 'base'")["kl"]) == {0.0}
    bank, scales = Bank.of_rows(rows(learned.scales, "hones"))
    for instance in instances:
        examples = first_examples(evaluator, [instance])
        assert examples[0].target == CAPTIONS[int(instance.instance_id[-1])]
        _, kl = loss_terms(evaluator, bank, _tensor(scales), examples)
        found = rows(steered, "hones").set_index("instance_id")["kl"]
        assert found[instance.instance_id] == pytest.approx(kl.item(), abs=1e-6)


def _tensor(values):
    import torch

    return torch.tensor(values)


def test_a_huge_kl_weight_keeps_the_model_as_it_is(tiny):
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    strict = replace(TRAINING, epochs=30, learning_rate=0.01, kl_weight=1e8)
    scales, curve = learn_scales(evaluator, instances, BANK, strict)
    free, _ = learn_scales(evaluator, instances, BANK, replace(strict, kl_weight=0.0))
    assert max(map(abs, free)) > 0.2
    assert max(map(abs, scales)) < 0.05 * max(map(abs, free))
    assert curve["kl"].iloc[-5:].mean() < 1e-4


def test_a_factor_of_one_is_the_base_bit_by_bit(tiny):
    evaluator = tiny.evaluator("vqa")
    forced = _forced(evaluator, first_examples(evaluator, make_instances("vqa")))
    everything = Bank(frozenset((layer, n) for layer in range(2) for n in range(24)))
    import torch

    with torch.no_grad():
        base = forced_logits(tiny.adapter, forced)
        with applied(tiny.adapter, everything.intervention(torch.zeros(48))):
            assert torch.equal(forced_logits(tiny.adapter, forced), base)


def test_divergence_is_found_early(tiny, monkeypatch):
    evaluator, instances = tiny.evaluator("vqa"), make_instances("vqa")
    wild = Training(learning_rate=0.05, epochs=30, batch_size=2)
    steps = []

    def worse(_, __, scales, *___):
        steps.append(1)
        return scales.sum() * 0 + 0.3 * len(steps), scales.sum() * 0 + kl_per_step * len(steps)

    monkeypatch.setattr(training, "loss_terms", worse)
    kl_per_step = 0.0
    with pytest.raises(SteeringError, match=r"diverges: at step 14 the mean cross-entropy.*lower"):
        learn_scales(evaluator, instances, BANK, wild)
    steps.clear()
    kl_per_step = 2.0
    with pytest.raises(SteeringError, match=r"diverges: at step 10 the mean KL.*kl_weights"):
        learn_scales(evaluator, instances, BANK, wild)
    assert len(steps) < 60


def test_bad_input(tiny):
    evaluator = tiny.evaluator("vqa")
    whole_layer = Bank(frozenset((1, neuron) for neuron in range(13)))
    with pytest.raises(SteeringError, match="no random control for the bank of vqa: only 11"):
        random_bank(whole_layer, tiny.adapter, "vqa", 0)
    with pytest.raises(SteeringError, match="vqa, hones: 3 development instances are fewer"):
        learn_methods(
            evaluator, make_instances("vqa"), [BANK], replace(TRAINING, batch_size=4), OPTIONS
        )
    blank = replace(make_instances("vqa")[0], references=(" ",) * 10)
    with pytest.raises(SteeringError, match="the target of vqa/0 is empty"):
        learn_scales(evaluator, [blank] * 2, BANK, TRAINING)
