"""Top sets, overlap groups and random controls."""

from collections import Counter
from itertools import pairwise, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core import artifacts
from hones_core.attribution.rankers import order
from hones_core.neuron_sets import (
    budget,
    first_of_groups,
    group_names,
    group_sets,
    groups_with,
    members,
    overlap_groups,
    random_set,
    top_set,
)
from hones_core.schemas.masking import OVERLAP_GROUPS

TASKS = ("vqa", "ocr", "caption", "retrieval")
LAYERS, NEURONS = 4, 12
neuron = st.tuples(st.integers(0, LAYERS - 1), st.integers(0, NEURONS - 1))
task_sets = st.tuples(*[st.frozensets(neuron, max_size=20)] * 4)


@pytest.mark.parametrize(
    ("n_total", "expected"),
    [(32 * 11_008, 3_523), (40 * 13_824, 5_530), (28 * 18_944, 5_304), (4 * 640, 26), (50, 1)],
)
def test_budget_of_one_percent(n_total, expected):
    assert budget(n_total, 0.01) == expected


def test_top_set_takes_the_first_ranks_of_one_order():
    generator = np.random.default_rng(0)
    shape = (LAYERS, NEURONS)
    scores = {("a", 0): generator.random(shape), ("a", 1): generator.random(shape)}
    ranking = pd.concat(
        [
            order(grid, np.zeros(shape)).assign(ranker=ranker, seed=seed)
            for (ranker, seed), grid in scores.items()
        ]
    ).sample(frac=1, random_state=0)
    for (ranker, seed), grid in scores.items():
        best = sorted(product(range(LAYERS), range(NEURONS)), key=lambda n: -grid[n])
        assert top_set(ranking, ranker, 0.25, seed) == frozenset(best[:12])
        assert top_set(ranking, ranker, 1.0, seed) == frozenset(best)
    later = ranking[ranking["seed"] == 1]
    assert top_set(ranking, "a", 0.25) == top_set(ranking, "a", 0.25, 0), "the first seed"
    assert top_set(later, "a", 0.25) == top_set(ranking, "a", 0.25, 1)
    with pytest.raises(ValueError, match=r"no ranker 'b'$"):
        top_set(ranking, "b", 0.1)
    with pytest.raises(ValueError, match="no ranker 'a' with seed 2"):
        top_set(ranking, "a", 0.1, 2)
    with pytest.raises(ValueError, match="selects none of the 48 neurons"):
        top_set(ranking, "a", 0.01)


def test_fifteen_groups():
    names = group_names(TASKS)
    assert len(names) == len(set(names)) == 15
    assert Counter(name.count("+") + 1 for name in names) == {1: 4, 2: 6, 3: 4, 4: 1}
    assert "vqa+caption" in names  # in task order
    assert names[-1] == "vqa+ocr+caption+retrieval"
    assert len(groups_with("ocr", TASKS)) == 8
    assert groups_with("ocr", ("ocr", "ocr_long")) == ["ocr", "ocr+ocr_long"]


@settings(max_examples=40, deadline=None)
@given(task_sets)
def test_groups_are_disjoint_exhaustive_and_exact(drawn):
    sets = dict(zip(TASKS, drawn, strict=True))
    groups = overlap_groups(sets)
    found = {name: members(groups, name) for name in group_names(TASKS)}
    assert sum(map(len, found.values())) == len(groups) == len(frozenset().union(*sets.values()))
    for name, neurons in found.items():
        inside = name.split("+")
        expected = {
            n
            for n in product(range(LAYERS), range(NEURONS))
            if all((n in sets[task]) == (task in inside) for task in TASKS)
        }
        assert neurons == expected
    for task in TASKS:  # a task's set is the union of its groups
        assert frozenset().union(*(found[name] for name in groups_with(task, TASKS))) == sets[task]
    assert (groups["n_tasks"] == groups["group"].str.count(r"\+") + 1).all() or groups.empty


def test_overlap_groups_fit_their_schema_even_without_a_neuron(tmp_path):
    for index, sets in enumerate([{"vqa": frozenset()}, {"vqa": frozenset([(0, 1)])}]):
        path = tmp_path / f"{index}.parquet"
        artifacts.write(path, overlap_groups(sets), OVERLAP_GROUPS, {})
        assert len(artifacts.read(path, OVERLAP_GROUPS)) == index


@settings(max_examples=40, deadline=None)
@given(
    st.frozensets(neuron, min_size=1, max_size=20), st.sampled_from(["uniform", "layer_matched"])
)
def test_random_sets(like, control):
    if control == "layer_matched" and max(Counter(n[0] for n in like).values()) > NEURONS // 2:
        with pytest.raises(ValueError, match="neurons are left"):
            random_set(like, LAYERS, NEURONS, control, (0, "g", 0))
        return
    found = random_set(like, LAYERS, NEURONS, control, (0, "g", 0))
    assert len(found) == len(like)
    assert not found & like
    assert found <= set(product(range(LAYERS), range(NEURONS)))
    assert found == random_set(like, LAYERS, NEURONS, control, (0, "g", 0))
    if control == "layer_matched":
        assert Counter(n[0] for n in found) == Counter(n[0] for n in like)


def test_random_sets_depend_on_every_part_of_the_key():
    like = frozenset((layer, i) for layer in range(LAYERS) for i in range(3))
    keys = [(0, "g", 0), (1, "g", 0), (0, "h", 0), (0, "g", 1)]
    assert len({random_set(like, LAYERS, NEURONS, "uniform", key) for key in keys}) == 4


def test_random_sets_are_uniform_over_what_is_left():
    like = frozenset([(0, 0), (0, 1)])
    counts = Counter(
        n for trial in range(400) for n in random_set(like, 2, 6, "uniform", (0, "g", trial))
    )
    assert len(counts) == 10
    assert min(counts.values()) > 50  # 80 expected
    assert max(counts.values()) < 115


def test_random_sets_that_cannot_be():
    with pytest.raises(ValueError, match="only 1 neurons are left for a random control of 3"):
        random_set(frozenset([(0, 0), (0, 1), (0, 2)]), 1, 4, "uniform", (0,))
    with pytest.raises(ValueError, match="unknown random control"):
        random_set(frozenset([(0, 0)]), 1, 4, "matched", (0,))


def test_group_sets_of_a_task():
    sets = {
        "vqa": frozenset([(0, 0), (0, 1), (1, 2)]),
        "ocr": frozenset([(0, 0), (2, 5)]),
        "caption": frozenset([(2, 5)]),
        "retrieval": frozenset(),
    }
    groups = overlap_groups(sets)
    found = group_sets(groups, "vqa", TASKS, (LAYERS, NEURONS), 3, "uniform", 0)
    assert set(found) == {(group, trial) for group in ("vqa", "vqa+ocr") for trial in (-1, 0, 1, 2)}
    assert found["vqa", -1] == {(0, 1), (1, 2)}
    assert found["vqa+ocr", -1] == {(0, 0)}
    for (group, trial), neurons in found.items():
        if trial >= 0:
            assert len(neurons) == len(found[group, -1])
            assert not neurons & found[group, -1]
    assert len({found["vqa", trial] for trial in range(3)}) == 3
    assert found == group_sets(groups, "vqa", TASKS, (LAYERS, NEURONS), 3, "uniform", 0)
    assert group_sets(groups, "retrieval", TASKS, (LAYERS, NEURONS), 3, "uniform", 0) == {}


small_sets = st.tuples(*[st.frozensets(neuron, max_size=8)] * 4)


@settings(max_examples=40, deadline=None)
@given(small_sets, st.lists(st.sampled_from(TASKS), min_size=1, max_size=4, unique=True))
def test_runs_of_fewer_tasks_have_fewer_groups(drawn, tasks):
    """One task, or tasks left out: as many groups as there are combinations, nothing else."""
    sets = {task: neurons for task, neurons in zip(TASKS, drawn, strict=True) if task in tasks}
    names = group_names(tuple(sets))
    assert len(names) == 2 ** len(sets) - 1
    groups = overlap_groups(sets)
    assert set(groups["group"]) <= set(names)
    assert sum(len(members(groups, name)) for name in names) == len(groups)
    for task in set(TASKS) - set(sets):  # a missing task is in no group, and has nothing to mask
        assert not groups["group"].str.contains(task).any()
        assert group_sets(groups, task, tuple(sets), (LAYERS, NEURONS), 1, "uniform", 0) == {}
    if len(sets) == 1:
        ((task, neurons),) = sets.items()
        assert names == groups_with(task, tuple(sets)) == [task]
        assert members(groups, task) == neurons


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 2), min_size=LAYERS * NEURONS, max_size=LAYERS * NEURONS))
def test_ties_are_cut_the_same_way_every_time(scores):
    """Of equal scores the tie-breaker decides, then layer and neuron; larger sets hold smaller."""
    grid = np.array(scores, dtype=float).reshape(LAYERS, NEURONS)
    ties = grid % 2
    ranking = order(grid, ties).assign(ranker="a", seed=0)
    places = sorted(product(range(LAYERS), range(NEURONS)), key=lambda n: (-grid[n], -ties[n], n))
    tops = [top_set(ranking, "a", ratio) for ratio in (0.05, 0.1, 0.5, 1.0)]
    for smaller, larger in pairwise(tops):
        assert smaller <= larger
    for found in tops:
        assert found == frozenset(places[: len(found)])


@settings(max_examples=30, deadline=None)
@given(small_sets, st.sampled_from(["uniform", "layer_matched"]), st.integers(0, 5))
def test_random_controls_of_a_task(drawn, control, seed):
    sets = dict(zip(TASKS, drawn, strict=True))
    groups = overlap_groups(sets)
    shape = (LAYERS, 3 * NEURONS)  # wide enough to match any layer
    for task in TASKS:
        found = group_sets(groups, task, TASKS, shape, 2, control, seed)
        filled = [name for name in groups_with(task, TASKS) if members(groups, name)]
        assert set(found) == {(name, trial) for name in filled for trial in (-1, 0, 1)}
        for (name, trial), neurons in found.items():
            own = members(groups, name)
            if trial < 0:
                assert neurons == own
                continue
            assert len(neurons) == len(own) and not neurons & own
            if control == "layer_matched":
                assert Counter(n[0] for n in neurons) == Counter(n[0] for n in own)
        # A control depends on its group alone, so that all tasks that share a group share it.
        again = group_sets(groups, task, TASKS, shape, 2, control, seed)
        assert again == found
        for other in TASKS:
            theirs = group_sets(groups, other, TASKS, shape, 2, control, seed)
            assert all(theirs[key] == found[key] for key in set(theirs) & set(found))


def test_the_first_neuron_of_each_group_is_the_best_by_hones():
    sets = {"vqa": frozenset([(0, 1), (0, 2), (1, 0)]), "ocr": frozenset([(0, 2), (1, 1)])}
    scores = {"vqa": [[0, 1, 3], [2, 0, 0]], "ocr": [[0, 0, 1], [0, 2, 0]]}
    rankings = {
        task: order(np.array(values, dtype=float), np.zeros((2, 3))).assign(ranker="hones", seed=0)
        for task, values in scores.items()
    }
    found = first_of_groups(overlap_groups(sets), rankings)
    assert found == {"vqa": (1, 0), "ocr": (1, 1), "vqa+ocr": (0, 2)}
    assert list(found) == ["vqa", "ocr", "vqa+ocr"]
