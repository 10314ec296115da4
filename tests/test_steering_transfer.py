"""Steering on other data sets: what is learned where, and the paper's Table 4."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from model_support import make_instances
from tables_support import BOOTSTRAP, mean_score, paper, row_of

from hones_core import artifacts
from hones_core.schemas.ood import OOD_STEERED_PREDICTIONS, OOD_TUNED_SCALES
from hones_core.schemas.tables import OOD_STEERING
from hones_core.statistics import AlignmentError
from hones_core.steering.bank import Bank, SteeringError
from hones_core.steering.prediction import predict_steered
from hones_core.steering.training import Training, learn_scales
from hones_core.steering.transfer import learn_anew, predict_ood_steered
from hones_core.tables.ood_steering import METHODS, ood_steering

pytest_plugins = ["model_fixtures"]

HONES = Bank(frozenset([(0, 2), (1, 3), (1, 11)]))
RANDOM = [Bank(frozenset([(0, seed), (1, 5), (1, 7)])) for seed in (9, 10)]
TRAINING = Training(learning_rate=0.05, epochs=1, batch_size=2)
INSTANCES = make_instances("vqa", 6)
TUNING = {0: (0, 1), 1: (2, 5)}


@pytest.fixture(scope="module")
def scales():
    frames = [HONES.frame("hones", [0.5, -1.2, 0.9]), HONES.frame("fixed_amp", [1.0] * 3)]
    frames += [bank.frame("random", [0.1, 0.2, 0.3], seed) for seed, bank in enumerate(RANDOM)]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def splits():
    rows = [
        (repeat, one.instance_id, "tuning" if place in tuning else "test")
        for repeat, tuning in TUNING.items()
        for place, one in enumerate(INSTANCES)
    ]
    return pd.DataFrame(rows, columns=["repeat", "instance_id", "part"])


@pytest.fixture(scope="module")
def tuned(tiny, scales, splits):
    return learn_anew(tiny.evaluator("vqa"), INSTANCES, splits, scales, TRAINING)


def test_scales_are_learned_on_the_tuning_part_of_each_division(tiny, tuned, tmp_path):
    artifacts.write(tmp_path / "tuned.parquet", tuned, OOD_TUNED_SCALES, {})
    evaluator = tiny.evaluator("vqa")
    assert set(zip(tuned["method"], tuned["repeat"], strict=True)) == {
        (method, repeat) for method in ("hones_tuned", "random_tuned") for repeat in TUNING
    }
    for method, bank in (("hones_tuned", HONES), ("random_tuned", RANDOM[0])):
        for repeat, places in TUNING.items():
            own = [INSTANCES[place] for place in places]
            expected, _ = learn_scales(evaluator, own, bank, TRAINING)
            rows = tuned[(tuned["method"] == method) & (tuned["repeat"] == repeat)]
            found_bank, found = Bank.of_rows(rows)
            assert found_bank.neurons == bank.neurons
            np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_scored_part_teaches_nothing(tiny, tuned, scales, splits):
    others = [replace(one, references=("blue",) * 10) for one in INSTANCES]
    for repeat, places in TUNING.items():
        mixed = [
            INSTANCES[place] if place in places else others[place] for place in range(len(others))
        ]
        only = splits[splits["repeat"] == repeat]
        found = learn_anew(tiny.evaluator("vqa"), mixed, only, scales, TRAINING)
        expected = tuned[tuned["repeat"] == repeat]
        np.testing.assert_allclose(found["scale"], expected["scale"], atol=1e-6)


def test_too_small_a_tuning_part_is_named(tiny, scales, splits):
    training = replace(TRAINING, batch_size=3)
    with pytest.raises(SteeringError, match="division 0, hones_tuned: 2 development instances"):
        learn_anew(tiny.evaluator("vqa"), INSTANCES, splits, scales, training)
    without = scales[scales["method"] != "random"]
    with pytest.raises(SteeringError, match="hold no method 'random'"):
        learn_anew(tiny.evaluator("vqa"), INSTANCES, splits, without, TRAINING)


def test_predictions_are_of_the_scored_part(tiny, scales, splits, tuned, tmp_path):
    evaluator = tiny.evaluator("vqa")
    found = predict_ood_steered(evaluator, "gqa", INSTANCES, splits, scales, tuned)
    artifacts.write(tmp_path / "steered.parquet", found, OOD_STEERED_PREDICTIONS, {})
    sizes = found.groupby(["method", "seed", "repeat"]).size().to_dict()
    assert sizes == {
        ("base", 0, -1): 6,
        ("hones_zero_shot", 0, -1): 6,
        ("random_zero_shot", 0, -1): 6,
        ("random_zero_shot", 1, -1): 6,
        **{
            (method, 0, repeat): 4
            for method in ("hones_tuned", "random_tuned")
            for repeat in (0, 1)
        },
    }
    in_domain, _ = predict_steered(evaluator, INSTANCES, scales)
    for ours, theirs in (("hones_zero_shot", "hones"), ("base", "base")):
        one, other = (
            frame[frame["method"] == name].set_index("instance_id")["prediction"].to_dict()
            for frame, name in ((found, ours), (in_domain, theirs))
        )
        assert one == other
    scored = set(found.query("method == 'hones_tuned' and repeat == 1")["instance_id"])
    assert scored == {INSTANCES[place].instance_id for place in range(6) if place not in TUNING[1]}


QUALITY = dict(zip(METHODS, (0.5, 0.5, 0.6, 0.5, 0.8), strict=True))


def drawn(ood_set: str, n: int = 20, repeats: int = 4):
    """Predictions and divisions of a set, 16 of 20 instances scored in each."""
    generator = np.random.default_rng(len(ood_set))
    ids = [f"{ood_set}/{place}" for place in range(n)]
    splits, rows = [], []
    for repeat in range(repeats):
        tuning = set(generator.choice(n, 4, replace=False))
        splits += [(repeat, one, "tuning" if i in tuning else "test") for i, one in enumerate(ids)]
    for method in METHODS:
        tuned = method.endswith("tuned")
        for seed in (0, 1) if method == "random_zero_shot" else (0,):
            for repeat in range(repeats) if tuned else (-1,):
                for place, one in enumerate(ids):
                    if tuned and splits[repeat * n + place][2] == "tuning":
                        continue
                    right = float(generator.random() < QUALITY[method])
                    rows.append((method, seed, repeat, one, np.array([right])))
    return (
        pd.DataFrame(rows, columns=["method", "seed", "repeat", "instance_id", "statistics"]),
        pd.DataFrame(splits, columns=["repeat", "instance_id", "part"]),
    )


@pytest.fixture(scope="module")
def sets():
    names = ("gqa", "textvqa", "flickr30k_caption", "flickr30k_retrieval")
    return {name: drawn(name) for name in names}


def table_of(sets):
    return ood_steering(
        {("llava", name): predictions for name, (predictions, _) in sets.items()},
        {name: splits for name, (_, splits) in sets.items()},
        dict.fromkeys(sets, mean_score),
        paper("ood_steering_score"),
        {"llava": "llava-1.5-7b"},
        BOOTSTRAP,
    )


def test_mean_and_sd_over_the_divisions_by_hand(sets):
    table = table_of(sets)
    assert list(table.columns) == OOD_STEERING.names
    assert len(table) == 5 * len(METHODS)
    predictions, splits = sets["gqa"]

    def score(method, repeat, division, seed=0):
        ids = set(splits.query(f"repeat == {division} and part == 'test'")["instance_id"])
        own = predictions.query(f"method == '{method}' and repeat == {repeat} and seed == {seed}")
        own = own[own["instance_id"].isin(ids)]
        assert len(own) == 16
        return sum(value[0] for value in own["statistics"]) / 16

    base = np.array([score("base", -1, k) for k in range(4)])
    tuned = np.array([score("hones_tuned", k, k) for k in range(4)])
    found = row_of(table, method="hones_tuned", ood_set="gqa")
    assert found["score"] == pytest.approx(tuned.mean())
    assert found["score_sd"] == pytest.approx(tuned.std(ddof=1))
    assert found["gain"] == pytest.approx(100 * (tuned - base).mean())
    assert found["gain_sd"] == pytest.approx(100 * (tuned - base).std(ddof=1))
    assert (found["n_gains"], found["n_divisions"]) == ((tuned > base).sum(), 4)
    assert (found["paper_score"], found["paper_sd"]) == (0.628, 0.002)
    random = np.mean([[score("random_zero_shot", -1, k, s) for k in range(4)] for s in (0, 1)], 0)
    found = row_of(table, method="random_zero_shot", ood_set="gqa")
    assert found["score"] == pytest.approx(random.mean())
    assert found["paper_score"] == 0.61
    assert np.isnan(row_of(table, method="random_tuned", ood_set="gqa")["paper_score"])
    average = row_of(table, method="hones_tuned", ood_set="avg")
    of_sets = table.query("method == 'hones_tuned' and ood_set != 'avg'")
    assert average["score"] == pytest.approx(of_sets["score"].mean())
    assert average["paper_score"] == 0.526


def test_the_gains_interval_is_over_resampled_instances_of_the_whole_set(sets):
    """By an explicit loop: in each resample every division scores what is drawn of its part."""
    predictions, splits = sets["gqa"]
    table = table_of({"gqa": sets["gqa"]})
    instances = sorted(splits["instance_id"].unique())
    place = {one: number for number, one in enumerate(instances)}

    def parts(method):
        """The places and scores of each division's part, [4 divisions][seeds]."""
        for division in range(4):
            ids = splits.query(f"repeat == {division} and part == 'test'")["instance_id"]
            own = predictions.query(f"method == '{method}' and repeat in (-1, {division})")
            own = own[own["instance_id"].isin(ids)]
            yield [
                (rows["instance_id"].map(place).to_numpy(), np.concatenate([*rows["statistics"]]))
                for _, rows in own.groupby("seed")
            ]

    def averages(method):
        """The mean over divisions and seeds, of each resample."""
        own = list(parts(method))
        return np.array(
            [
                np.mean(
                    [
                        np.mean([np.repeat(right, counts[drawn]).mean() for drawn, right in seeds])
                        for seeds in own
                    ]
                )
                for counts in BOOTSTRAP.counts(instances)
            ]
        )

    base = averages("base")
    for method in ("random_zero_shot", "hones_tuned"):
        gains = 100 * (averages(method) - base)
        found = row_of(table, method=method, ood_set="gqa")
        ends = np.quantile(gains, [0.025, 0.975])
        assert (found["gain_low"], found["gain_high"]) == pytest.approx(tuple(ends))
        assert found["gain_low"] < found["gain"] < found["gain_high"]
        tails = min((gains <= 1e-9).sum(), (gains >= -1e-9).sum())
        assert found["gain_p"] == pytest.approx(min(1, (2 * tails + 1) / (len(gains) + 1)))
    unsteered = row_of(table, method="base", ood_set="gqa")
    assert (unsteered["gain_low"], unsteered["gain_high"], unsteered["gain_p"]) == (0, 0, 1)


def test_an_interval_is_undefined_where_resamples_hold_nothing_of_the_part():
    """Three in ten resamples of three instances hold none of the one that is scored."""
    generator = np.random.default_rng(0)
    ids = [f"gqa/{place}" for place in range(3)]
    rows = [
        (method, 0, 0 if method.endswith("tuned") else -1, one, np.array([generator.random()]))
        for method in METHODS
        for one in (ids[:1] if method.endswith("tuned") else ids)
    ]
    columns = ["method", "seed", "repeat", "instance_id", "statistics"]
    splits = pd.DataFrame(
        {"repeat": 0, "instance_id": ids, "part": ["test", "tuning", "tuning"]},
    )
    table = table_of({"gqa": (pd.DataFrame(rows, columns=columns), splits)})
    assert table["gain"].notna().all() and table["gain_low"].isna().all()


def test_the_papers_average_stands_beside_that_of_all_sets_only(sets):
    table = table_of({name: sets[name] for name in ("gqa", "textvqa")})
    assert np.isnan(row_of(table, method="base", ood_set="avg")["paper_score"])
    assert row_of(table, method="base", ood_set="gqa")["paper_score"] == 0.61


def test_predictions_of_another_part_are_refused(sets):
    predictions, splits = sets["gqa"]
    less = predictions.drop(predictions[predictions["method"] == "hones_tuned"].index[:1])
    with pytest.raises(AlignmentError, match="hones_tuned, division 0"):
        table_of({"gqa": (less, splits)})
