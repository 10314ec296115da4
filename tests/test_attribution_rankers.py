"""Rankers: from measurements to one order over all neurons."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hones_core import artifacts
from hones_core.attribution.ape import bernoulli_entropy
from hones_core.attribution.rankers import Measurements, Options, order, rank_neurons
from hones_core.schemas.neurons import ACTIVATION_STATISTICS, NEURON_EFFECTS, NEURON_RANKING

SHAPE = (3, 4)
ALL_TASKS = ("hones", "no_head", "ma", "ap", "ape", "random")  # without measurements of their own


@pytest.fixture
def measured() -> Measurements:
    generator = np.random.default_rng(0)
    layer, neuron = (grid.ravel() for grid in np.indices(SHAPE))
    activations = pd.DataFrame(
        {
            "layer": layer,
            "neuron": neuron,
            "mean_activation": generator.normal(size=12),
            "mean_absolute": generator.random(12),
            "active_fraction": [0, 0.5, 1, 0.25, 0.75, 0.5, 0.1, 0.9, 1, 0, 0.3, 0.6],
            "n_samples": 4,
        }
    )
    assert list(activations.columns) == ACTIVATION_STATISTICS.names
    frames = []
    for head_layer, head in ((-1, -1), (0, 1), (1, 0), (2, 2)):
        drop = np.zeros(12) if head_layer < 0 else generator.random(12)
        frame = pd.DataFrame(
            {
                "head_layer": head_layer,
                "head": head,
                "layer": layer,
                "neuron": neuron,
                "contribution": generator.normal(size=12),
                "drop": drop,
            }
        )
        frames.append(frame[frame["layer"] >= head_layer])
    heads = pd.DataFrame(
        [
            (0, 0, 1, 0.4, 0.0, True),
            (1, 1, 0, 0.1, 0.0, True),
            (2, 2, 2, -0.3, 0.0, True),
            (3, 0, 0, 9.0, 0.0, False),  # not selected: counts for nothing
        ],
        columns=["rank", "layer", "head", "score", "logprob_drop", "selected"],
    )
    return Measurements(heads, pd.concat(frames, ignore_index=True), activations)


def places(ranking: pd.DataFrame, ranker: str, seed: int = 0) -> list[tuple[int, int]]:
    rows = ranking[(ranking["ranker"] == ranker) & (ranking["seed"] == seed)].sort_values("rank")
    return list(zip(rows["layer"], rows["neuron"], strict=True))


def value_of(frame: pd.DataFrame, column: str) -> dict[tuple[int, int], float]:
    return {(row["layer"], row["neuron"]): row[column] for _, row in frame.iterrows()}


def entropy(p: float) -> float:
    return 0.0 if p in (0, 1) else -(p * math.log(p) + (1 - p) * math.log(1 - p))


def test_activation_rankers(measured, tmp_path):
    ranking = rank_neurons(measured, list(ALL_TASKS), seeds=[3, 4])
    artifacts.write(tmp_path / "ranking.parquet", ranking, NEURON_RANKING, {})
    mean = value_of(measured.activations, "mean_activation")
    share = value_of(measured.activations, "active_fraction")
    neurons = sorted(mean)
    assert places(ranking, "ma") == sorted(neurons, key=lambda n: (-mean[n], n))
    assert places(ranking, "ap") == sorted(neurons, key=lambda n: (-share[n], n))
    assert places(ranking, "ape") == sorted(
        neurons, key=lambda n: (-round(entropy(share[n]), 12), n)
    )


def test_mean_of_absolute_activations(measured):
    absolute = value_of(measured.activations, "mean_absolute")
    measured = replace(measured, options=Options(absolute_mean=True))
    found = places(rank_neurons(measured, ["ma"], []), "ma")
    assert found == sorted(absolute, key=lambda n: (-absolute[n], n))


def test_no_head_is_the_base_contribution(measured):
    effects = measured.neuron_effects
    base = value_of(effects[effects["head_layer"] == -1], "contribution")
    found = places(rank_neurons(measured, ["no_head"], []), "no_head")
    assert found == sorted(base, key=lambda n: (-base[n], n))


def test_mirrored_shares_tie_in_entropy(measured):
    """Rounding of p ln p must not order neurons that are active in k and in n - k samples."""
    shares = np.array([19, 1, 3, 17, 1, 19, 17, 3, 4, 16, 16, 4]) / 20
    assert len(set(bernoulli_entropy(shares))) > 3
    measured.activations["active_fraction"] = shares
    found = places(rank_neurons(measured, ["ape"], [0]), "ape")
    neurons = [(layer, neuron) for layer in range(3) for neuron in range(4)]
    distance = {n: round(abs(share - 0.5), 9) for n, share in zip(neurons, shares, strict=True)}
    assert found == sorted(neurons, key=lambda n: (distance[n], n))


def test_hones(measured):
    ranking = rank_neurons(measured, ["hones"], seeds=[])
    effects = measured.neuron_effects
    base = value_of(effects[effects["head_layer"] == -1], "contribution")
    first = value_of(effects.query("head_layer == 0"), "drop")
    second = value_of(effects.query("head_layer == 1"), "drop")
    score = {n: (0.4 * first[n] + 0.1 * second.get(n, 0.0)) / 0.5 for n in base}
    assert places(ranking, "hones") == sorted(base, key=lambda n: (-score[n], -abs(base[n]), n))
    found = value_of(ranking, "score")
    assert found == pytest.approx(score)


def test_random_orders(measured):
    ranking = rank_neurons(measured, ["random", "ma"], seeds=[3, 4])
    assert set(ranking.query("ranker == 'random'")["seed"]) == {3, 4}
    assert set(ranking.query("ranker == 'ma'")["seed"]) == {0}
    assert places(ranking, "random", 3) != places(ranking, "random", 4)
    again = rank_neurons(measured, ["random"], seeds=[3])
    assert places(again, "random", 3) == places(ranking, "random", 3)
    everything = [(layer, neuron) for layer in range(3) for neuron in range(4)]
    assert sorted(places(ranking, "random", 3)) == everything


def test_random_is_uniform_over_neurons(measured):
    first = [places(rank_neurons(measured, ["random"], [s]), "random", s)[0] for s in range(100)]
    counts = pd.Series(first).value_counts()
    assert len(counts) == 12
    assert counts.max() < 22  # 8 expected


def test_ties_fall_to_the_second_criterion_then_to_layer_and_index():
    scores = np.array([[1.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    ties = np.array([[0.5, 0.0, 0.9], [0.9, 0.0, 0.0]])
    found = order(scores, ties)
    assert list(zip(found["layer"], found["neuron"], strict=True)) == [
        (1, 2),
        (0, 1),
        (1, 1),
        (0, 2),
        (1, 0),
        (0, 0),
    ]
    assert found["rank"].tolist() == list(range(6))
    assert found["score"].tolist() == [3, 2, 2, 1, 1, 1]
    assert found["tie_break"].tolist() == [0, 0, 0, 0.9, 0.9, 0.5]


def test_effects_columns(measured):
    assert list(measured.neuron_effects.columns) == NEURON_EFFECTS.names


def test_bernoulli_entropy():
    shares = [0.0, 1.0, 0.5, 0.25, 0.75, 1e-12]
    np.testing.assert_allclose(bernoulli_entropy(np.array(shares)), [entropy(p) for p in shares])
    assert bernoulli_entropy(np.array([0.25])) == bernoulli_entropy(np.array([0.75]))


def test_random_rankers_may_have_seeds_of_their_own(measured):
    found = rank_neurons(measured, ["random", "ma"], {"random": [7, 9], "rand_head": [1]})
    assert set(found.query("ranker == 'random'")["seed"]) == {7, 9}


def test_a_missing_measurement_and_a_nan_are_named(measured):
    with pytest.raises(ValueError, match="needs dla_scores, which was not measured"):
        rank_neurons(measured, ["dla"], [])
    with pytest.raises(FloatingPointError, match="NaN"):
        order(np.array([[1.0, np.nan]]), np.zeros((1, 2)))


def test_unknown_ranker(measured):
    with pytest.raises(ValueError, match="known: hones, no_head, rand_head"):
        rank_neurons(measured, ["best"], [0])
