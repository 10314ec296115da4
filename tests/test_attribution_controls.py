"""Rankers with measurements of their own, from stored measurements; the table of all rankers."""

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from hones_core import artifacts
from hones_core.attribution.mmneuron import score as mmneuron
from hones_core.attribution.qrnca import score as qrnca
from hones_core.attribution.rand_head import random_heads
from hones_core.attribution.rankers import RANKERS, Measurements, Options, rank_neurons
from hones_core.ranker_catalogue import CATALOGUE, TOKEN_LEVEL, applicable, artifacts_for
from hones_core.schemas.rankers import GROUP_PATCHING_EFFECTS, QRNCA_SCORES
from hones_core.tables.common import PAPER_NAMES
from hones_core.tables.masking import RANKER_ORDER

TASKS = ("vqa", "ocr", "caption", "retrieval")
SHAPE = (2, 4)


def head_ranking(n_layers=4, per_layer=5, selected=6, seed=0) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    heads = [(layer, head) for layer in range(n_layers) for head in range(per_layer)]
    frame = pd.DataFrame(heads, columns=["layer", "head"]).sample(frac=1, random_state=seed)
    frame["score"] = np.sort(generator.random(len(frame)))[::-1]
    frame["rank"] = np.arange(len(frame))
    return frame.assign(selected=frame["rank"] < selected)


def effects(heads, seed) -> pd.DataFrame:
    """The base run and drops under each head, from its layer on."""
    generator = np.random.default_rng(seed)
    layer, neuron = (grid.ravel() for grid in np.indices(SHAPE))
    frames = []
    for head_layer, head in [(-1, -1), *heads]:
        drop = np.zeros(8) if head_layer < 0 else generator.random(8)
        columns = {"head_layer": head_layer, "head": head, "layer": layer, "neuron": neuron}
        columns |= {"contribution": generator.normal(size=8), "drop": drop}
        frame = pd.DataFrame(columns)
        frames.append(frame[frame["layer"] >= head_layer])
    return pd.concat(frames, ignore_index=True)


def grid_of(frame, column) -> np.ndarray:
    grid = np.zeros(SHAPE)
    grid[frame["layer"], frame["neuron"]] = frame[column]
    return grid


def drop_of(frame, head) -> np.ndarray:
    return grid_of(frame.query(f"head_layer == {head[0]} and head == {head[1]}"), "drop")


def neuron_rows(**columns) -> pd.DataFrame:
    layer, neuron = (grid.ravel() for grid in np.indices(SHAPE))
    return pd.DataFrame({"layer": layer, "neuron": neuron, **columns})


def first_places(ranking, ranker, seed=0):
    rows = ranking.query(f"ranker == '{ranker}' and seed == {seed}").sort_values("rank")
    return list(zip(rows["layer"], rows["neuron"], strict=True))


# --- random heads and noise ----------------------------------------------------------------------


def test_random_heads_are_never_top_heads_and_uniform():
    ranking = head_ranking()
    top = set(ranking.loc[ranking["selected"], ["layer", "head"]].itertuples(index=False))
    counts: dict = {}
    for seed in range(700):
        heads = random_heads(ranking, seed)
        assert len(set(heads)) == 6
        assert not top & set(heads)
        for head in heads:
            counts[head] = counts.get(head, 0) + 1
    assert len(counts) == 14  # every other head
    assert all(230 < count < 370 for count in counts.values())  # 300 expected, sd 13
    assert random_heads(ranking, 3) == random_heads(ranking.sample(frac=1), 3)
    assert random_heads(ranking, 3) != random_heads(ranking, 4)


def test_too_few_other_heads():
    with pytest.raises(ValueError, match="draws 11 heads outside the top 11, but only 9 are left"):
        random_heads(head_ranking(selected=11), 0)


def test_rand_head_weighs_its_seeds_heads_alike():
    ranking = head_ranking(n_layers=2, per_layer=5, selected=3)
    heads = sorted(set(ranking[["layer", "head"]].itertuples(index=False, name=None)))
    measured = Measurements(
        ranking, effects(heads, 1), random_head_effects=effects(heads, 2), task="vqa"
    )
    found = rank_neurons(measured, ["rand_head"], [4, 5])
    assert set(found["seed"]) == {4, 5}
    for seed in (4, 5):
        drawn = random_heads(ranking, seed)
        expected = np.mean([drop_of(measured.random_head_effects, head) for head in drawn], axis=0)
        np.testing.assert_allclose(grid_of(found.query(f"seed == {seed}"), "score"), expected)
    base = measured.neuron_effects.query("head_layer == -1")
    np.testing.assert_array_equal(
        grid_of(found.query("seed == 4"), "tie_break"), np.abs(grid_of(base, "contribution"))
    )


def test_gaussian_keeps_the_weights_of_hones():
    ranking = head_ranking(n_layers=2, per_layer=5, selected=3)
    ranking.loc[ranking["rank"] == 2, "score"] = -0.5  # selected, but hurts nothing
    heads = list(ranking.query("selected")[["layer", "head"]].itertuples(index=False, name=None))
    weights = dict(zip(heads, ranking.query("selected")["score"], strict=True))
    measured = Measurements(ranking, effects(heads, 1), gaussian_effects=effects(heads, 2))
    found = rank_neurons(measured, ["gaussian", "hones"], [])
    for ranker, source in (
        ("gaussian", measured.gaussian_effects),
        ("hones", measured.neuron_effects),
    ):
        total = sum(w * drop_of(source, head) for head, w in weights.items() if w > 0)
        expected = total / sum(w for w in weights.values() if w > 0)
        np.testing.assert_allclose(grid_of(found.query(f"ranker == '{ranker}'"), "score"), expected)
    none = replace(measured, head_ranking=ranking.assign(score=-1.0))
    with pytest.raises(ValueError, match="none of the selected heads has a positive score"):
        rank_neurons(none, ["gaussian"], [])


# --- MMNeuron ------------------------------------------------------------------------------------


def activations(shares) -> pd.DataFrame:
    return neuron_rows(active_fraction=shares)


def mmneuron_by_hand(shares, task):
    """Own neurons by entropy, the others by share, idle ones last."""
    keys = {}
    for place in range(8):
        p = [shares[name][place] for name in shares]
        own = shares[task][place]
        q = [value / sum(p) for value in p] if sum(p) else []
        entropy = -sum(value * math.log(value) for value in q if value)
        if sum(p) and own == max(p):
            key = (0, round(entropy, 9), -own)
        else:
            key = (1, -round(own / sum(p), 9) if sum(p) else 0.0, -own)
        keys[divmod(place, 4)] = key
    return sorted(keys, key=lambda neuron: (keys[neuron], neuron))


def test_mmneuron_prefers_neurons_of_one_task():
    shares = {
        "vqa": [1.0, 0.0, 0.5, 0.5, 0.0, 0.2, 1.0, 0.3],
        "ocr": [1.0, 0.8, 0.0, 0.5, 0.0, 0.1, 0.9, 0.9],
        "caption": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.0],
    }
    frames = {task: activations(values) for task, values in shares.items()}
    for task in shares:
        measured = Measurements(task=task, task_activations=frames)
        found = first_places(rank_neurons(measured, ["mmneuron"], []), "mmneuron")
        assert found == mmneuron_by_hand(shares, task)
    assert first_places(
        rank_neurons(Measurements(task="vqa", task_activations=frames), ["mmneuron"], []),
        "mmneuron",
    )[:2] == [(0, 2), (1, 1)]  # active in vqa only; twice as often as in another task
    scores, _ = mmneuron(Measurements(task="vqa", task_activations=frames), 0)
    assert scores[0, 2] == pytest.approx(math.log(3))
    assert scores[0, 0] == 0  # alike in all tasks
    assert scores[1, 0] == -1  # never active
    assert scores[0, 1] == -1  # only in another task


def test_mmneuron_needs_two_tasks():
    for frames in ({}, {"vqa": activations([0.5] * 8)}):
        with pytest.raises(ValueError, match="mmneuron compares the activations of tasks"):
            mmneuron(Measurements(task="vqa", task_activations=frames), 0)
    assert applicable(["mmneuron", "ma"], "vqa", ["vqa"]) == ["ma"]


# --- token-level rankers -------------------------------------------------------------------------


def test_neurons_inherit_their_groups_effect(tmp_path):
    generator = np.random.default_rng(5)
    bounds = [(0, 1), (1, 3)]  # groups of different sizes
    rows = [
        (layer, first, size, f"vqa/{sample}", generator.normal())
        for layer in range(2)
        for first, size in bounds
        for sample in range(3)
    ]
    frame = pd.DataFrame(rows, columns=GROUP_PATCHING_EFFECTS.names)
    artifacts.write(tmp_path / "effects.parquet", frame, GROUP_PATCHING_EFFECTS, {})
    measured = Measurements(neuron_effects=effects([], 3), group_patching_effects=frame)
    found = rank_neurons(measured, ["group_patching"], [])
    score, tie = {}, np.abs(grid_of(measured.neuron_effects, "contribution"))
    for layer in range(2):
        for first, size in bounds:
            of_group = [row[4] for row in rows if row[:2] == (layer, first)]
            for neuron in range(first, first + size):
                score[layer, neuron] = sum(of_group) / 3
    np.testing.assert_allclose(
        grid_of(found, "score"), [[score[layer, neuron] for neuron in range(4)] for layer in (0, 1)]
    )
    assert first_places(found, "group_patching") == sorted(
        score, key=lambda n: (-round(score[n], 12), -tie[n], n)
    )


def qrnca_frame(attribution, above, occurrences, n=10) -> pd.DataFrame:
    return neuron_rows(
        attribution=attribution, attribution_above=above, occurrences=occurrences, n_samples=n
    )


def test_qrnca_weighs_drops_and_back_fills(tmp_path):
    raw = [0.9, 0.5, 0.4, 0.3, -0.2, 0.8, 0.1, 0.05]
    above = [0.9, 0.4, 0.3, 0.0, 0.0, 0.7, 0.0, 0.05]
    occurrences = [10, 3, 1, 0, 0, 4, 0, 1]
    frame = qrnca_frame(raw, above, occurrences)
    artifacts.write(tmp_path / "scores.parquet", frame, QRNCA_SCORES, {})
    found = rank_neurons(Measurements(qrnca_scores=frame), ["qrnca"], [])
    # 4 of 10 queries are more than 0.3; 3 are not.
    weights = {1: 0.4 * math.log(10 / 4), 2: 0.3 * math.log(10 / 2), 7: 0.05 * math.log(10 / 2)}
    kept = sorted(weights, key=lambda place: -weights[place])
    assert kept == [2, 1, 7]
    back_fill, dropped = [3, 6, 4], [0, 5]
    expected = [divmod(place, 4) for place in kept + back_fill + dropped]
    assert first_places(found, "qrnca") == expected
    loose = Measurements(qrnca_scores=frame, options=Options(max_query_share=0.4))
    scores, _ = qrnca(loose, 0)
    assert scores[1, 1] == pytest.approx(0.7 * math.log(10 / 5))
    assert scores[0, 0] == -1


def test_qrnca_of_one_query_orders_by_the_raw_score():
    """Each neuron that stands out does so in all queries, and is dropped; the rest back-fills."""
    frame = qrnca_frame([5, 4, 3, 2, 1, 0, -1, -2], [5, 4, 0, 0, 0, 0, 0, 0], [1, 1] + [0] * 6, 1)
    found = first_places(rank_neurons(Measurements(qrnca_scores=frame), ["qrnca"], []), "qrnca")
    assert found == [divmod(place, 4) for place in (2, 3, 4, 5, 6, 7, 0, 1)]


@pytest.mark.parametrize(
    ("ranker", "field", "column"),
    [
        ("dla", "dla_scores", "attribution"),
        ("llm_knowledge", "llm_knowledge_scores", "increase"),
    ],
)
def test_scores_that_are_ordered_as_they_are(ranker, field, column):
    values = [0.0, 3.0, -1.0, 3.0, 2.0, 0.0, -5.0, 1.0]
    frame = neuron_rows(**{column: values})
    found = first_places(rank_neurons(Measurements(**{field: frame}), [ranker], []), ranker)
    assert found == [divmod(place, 4) for place in (1, 3, 4, 7, 0, 5, 2, 6)]


# --- the table of all rankers --------------------------------------------------------------------


def test_every_ranker_is_in_every_table():
    assert list(RANKERS) == list(CATALOGUE)
    in_order = set(RANKER_ORDER) - {"base"}
    published = set(PAPER_NAMES.values()) & in_order
    assert published == in_order - {"mmneuron"}  # which the paper does not have
    assert in_order <= set(RANKERS)  # others follow in the tables as they come


def test_token_level_rankers_are_for_short_answers():
    only_vqa = {"dla", "group_patching", "qrnca", "llm_knowledge"}
    assert applicable(CATALOGUE, "vqa", TASKS) == list(CATALOGUE)
    for task in TASKS[1:]:
        assert set(CATALOGUE) - set(applicable(CATALOGUE, task, TASKS)) == only_vqa
    assert TOKEN_LEVEL == ("vqa",)
    with pytest.raises(ValueError, match="unknown ranker 'best'"):
        applicable(["best"], "vqa", TASKS)


def test_only_what_is_asked_for_is_measured():
    assert artifacts_for(["hones", "random"]) == ["head_ranking", "neuron_effects"]
    assert artifacts_for(["ma", "ap", "mmneuron"]) == ["activation_statistics"]
    assert "random_head_effects" in artifacts_for(["rand_head"])
