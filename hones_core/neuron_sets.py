"""Sets of neurons: the top of a ranking, overlap groups of the tasks' sets, random controls."""

import zlib
from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

NeuronSet = frozenset[tuple[int, int]]  # (layer, neuron)

GROUP_ITSELF = -1  # as the number of a trial: the set itself; its random controls count from 0
RANDOM_CONTROLS = ("uniform", "layer_matched")


def budget(n_total: int, ratio: float) -> int:
    """Number of neurons in the top `ratio`, rounded: of 352,256 neurons 1 % are 3,523."""
    return int(n_total * ratio + 0.5)


def top_set(ranking: pd.DataFrame, ranker: str, ratio: float, seed: int | None = None) -> NeuronSet:
    """The first `ratio` of a ranker's order (None: of its first seed), from a NEURON_RANKING.

    Raises ValueError if the order is not there, or if the ratio selects no neuron at all.
    """
    rows = ranking[ranking["ranker"] == ranker]
    rows = rows[rows["seed"] == (rows["seed"].min() if seed is None else seed)]
    if rows.empty:
        which = "" if seed is None else f" with seed {seed}"
        raise ValueError(f"the neuron ranking holds no ranker {ranker!r}{which}")
    size = budget(len(rows), ratio)
    if size == 0:
        raise ValueError(f"a ratio of {ratio} selects none of the {len(rows)} neurons; raise it")
    best = rows[rows["rank"] < size]
    return frozenset(zip(best["layer"].tolist(), best["neuron"].tolist(), strict=True))


def group_names(tasks: Sequence[str]) -> list[str]:
    """All membership patterns over the tasks: specific, pairs, triples, general (15 for four)."""
    return [
        "+".join(members)
        for size in range(1, len(tasks) + 1)
        for members in combinations(tasks, size)
    ]


def groups_with(task: str, tasks: Sequence[str]) -> list[str]:
    """The overlap groups of `tasks` that contain `task`, smallest first (8 for four tasks)."""
    return [group for group in group_names(tasks) if task in group.split("+")]


def overlap_groups(sets: dict[str, NeuronSet]) -> pd.DataFrame:
    """The OVERLAP_GROUPS artifact: each neuron's exact membership pattern (METHOD 8).

    `sets` holds each task's top set, in task order, which is also that of the groups' names.
    """
    rows = []
    for neuron in sorted(frozenset().union(*sets.values())):
        members = [task for task, neurons in sets.items() if neuron in neurons]
        rows.append((*neuron, "+".join(members), len(members)))
    return pd.DataFrame(rows, columns=["layer", "neuron", "group", "n_tasks"])


def members(groups: pd.DataFrame, group: str) -> NeuronSet:
    """The neurons of one overlap group; empty if nothing has that pattern."""
    rows = groups[groups["group"] == group]
    return frozenset(zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True))


def top_neurons(groups: pd.DataFrame, task: str) -> NeuronSet:
    """A task's whole top set: the neurons of every overlap group that contains it."""
    columns = (groups[name].tolist() for name in ("layer", "neuron", "group"))
    rows = zip(*columns, strict=True)
    return frozenset((layer, neuron) for layer, neuron, group in rows if task in group.split("+"))


def salient_sets(
    groups: pd.DataFrame, dominant: pd.DataFrame, task: str
) -> dict[str, tuple[str, NeuronSet]]:
    """A task's two sets of METHOD 9: {"dominant" or "specific": (overlap group, neurons)}.

    `groups` and `dominant` are the OVERLAP_GROUPS and DOMINANT_GROUPS artifacts. Both sets are
    always there: a group without neurons is empty, a task without a shared group has none of the
    name "". Raises ValueError if `dominant` does not know the task.
    """
    chosen = dominant.loc[dominant["task"] == task, "group"]
    if len(chosen) != 1:
        raise ValueError(f"the dominant groups name {len(chosen)} groups of task {task!r}, not one")
    names = {"dominant": chosen.iloc[0], "specific": task}
    return {name: (group, members(groups, group)) for name, group in names.items()}


def first_of_groups(
    groups: pd.DataFrame, rankings: dict[str, pd.DataFrame]
) -> dict[str, tuple[int, int]]:
    """{group: the neuron that HONES ranks highest among the group's, in its first task's order}.

    `groups` is the OVERLAP_GROUPS artifact, `rankings` NEURON_RANKING of each task. Groups in the
    order of `group_names`; empty ones are left out.
    """
    found = {}
    for group in group_names(list(rankings)):
        neurons = members(groups, group)
        if neurons:
            order = rankings[group.split("+")[0]]
            rows = order[(order["ranker"] == "hones") & (order["seed"] == 0)].sort_values("rank")
            places = zip(rows["layer"].tolist(), rows["neuron"].tolist(), strict=True)
            found[group] = next(place for place in places if place in neurons)
    return found


def group_sets(
    groups: pd.DataFrame,
    task: str,
    tasks: Sequence[str],
    shape: tuple[int, int],
    random_trials: int,
    random_control: str,
    seed: int,
) -> dict[tuple[str, int], NeuronSet]:
    """The sets to mask for one target task: {(group, trial): neurons}.

    Every non-empty group that contains the task is the trial GROUP_ITSELF; its random controls
    of the same size follow from 0. `shape` is (layers, neurons per layer).
    """
    sets: dict[tuple[str, int], NeuronSet] = {}
    for group in groups_with(task, tasks):
        neurons = members(groups, group)
        if not neurons:
            continue
        sets[group, GROUP_ITSELF] = neurons
        for trial in range(random_trials):
            key = (seed, group, trial)
            sets[group, trial] = random_set(neurons, *shape, random_control, key)
    return sets


SELECTIVITY_KINDS = ("top", "specific", "dominant")


def source_sets(
    groups: pd.DataFrame, dominant: pd.DataFrame, tasks: Sequence[str]
) -> dict[tuple[str, str], NeuronSet]:
    """What the selectivity matrix silences: {(task, kind): neurons}, empty sets included.

    Of each task its whole top set, the neurons that are in no other task's, and its dominant
    group. `groups` and `dominant` are the OVERLAP_GROUPS and DOMINANT_GROUPS artifacts.
    """
    sets: dict[tuple[str, str], NeuronSet] = {}
    for task in tasks:
        salient = salient_sets(groups, dominant, task)
        sets[task, "top"] = top_neurons(groups, task)
        sets[task, "specific"] = salient["specific"][1]
        sets[task, "dominant"] = salient["dominant"][1]
    return sets


def selectivity_sets(
    sets: dict[tuple[str, str], NeuronSet],
    shape: tuple[int, int],
    random_trials: int,
    random_control: str,
    seed: int,
) -> dict[tuple[str, str, int], NeuronSet]:
    """The sets to mask for every task: {(source task, kind, trial): neurons}, empty ones left out.

    The trial GROUP_ITSELF is the set itself. Its random controls, from 0, lie outside every one of
    `sets`, so that uniform controls of the same size can be the same set and need to be run once.
    """
    important = frozenset().union(*sets.values())
    found: dict[tuple[str, str, int], NeuronSet] = {}
    for (task, kind), neurons in sets.items():
        if not neurons:
            continue
        found[task, kind, GROUP_ITSELF] = neurons
        for trial in range(random_trials):
            name = (len(neurons),) if random_control == "uniform" else (task, kind)
            key = (seed, "selectivity", *name, trial)
            found[task, kind, trial] = random_set(neurons, *shape, random_control, key, important)
    return found


def random_set(
    like: NeuronSet,
    n_layers: int,
    n_neurons: int,
    control: str,
    key: Sequence[int | str],
    avoid: NeuronSet = frozenset(),
) -> NeuronSet:
    """A random set of the same size as `like` and disjoint from it and from `avoid`.

    `control` is 'uniform' over all neurons or 'layer_matched' (as many from each layer); `key`
    (seed, names, trial number) determines the draw. Raises ValueError for another control, or if
    too few neurons are left.
    """
    avoid = avoid | like
    if control not in RANDOM_CONTROLS:
        raise ValueError(f"unknown random control {control!r}; known: {RANDOM_CONTROLS}")
    generator = np.random.default_rng([_as_int(part) for part in key])
    if control == "uniform":
        return frozenset(_draw(range(n_layers), n_neurons, avoid, len(like), generator))
    chosen: list[tuple[int, int]] = []
    for layer in sorted({layer for layer, _ in like}):
        size = sum(1 for other, _ in like if other == layer)
        chosen += _draw([layer], n_neurons, avoid, size, generator)
    return frozenset(chosen)


def _draw(
    layers: Iterable[int],
    n_neurons: int,
    avoid: NeuronSet,
    size: int,
    generator: np.random.Generator,
) -> list[tuple[int, int]]:
    free = [(layer, i) for layer in layers for i in range(n_neurons) if (layer, i) not in avoid]
    if len(free) < size:
        raise ValueError(f"only {len(free)} neurons are left for a random control of {size}")
    return [free[index] for index in generator.choice(len(free), size, replace=False)]


def _as_int(part: int | str) -> int:
    return part if isinstance(part, int) else zlib.crc32(part.encode())
