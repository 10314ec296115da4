"""How stable a ranker's top neurons are: the same order from other discovery samples.

The samples are divided into parts, each part is measured once, and a half of the samples is any
half of the parts: their measurements are pooled, not repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hones_core.attribution.hones import base_contributions
from hones_core.attribution.measurements import Measurements, Options
from hones_core.attribution.rankers import rank_neurons
from hones_core.benchmark.seeding import seeded_order
from hones_core.neuron_sets import top_set
from hones_core.ranker_catalogue import can_be_drawn
from hones_core.schemas.agreement import RANKER_STABILITY
from hones_core.tasks.instances import Instance

# What measures an artifact of `ranker_catalogue` on some instances.
Measure = Callable[[Sequence[Instance]], pd.DataFrame]

SUMMED = {"n_samples", "occurrences"}
NEURON = ["layer", "neuron"]
HEAD_NEURON = ["head_layer", "head", *NEURON]
# The key of each artifact that is pooled; one row a sample is kept as it is.
KEYS = {
    "neuron_effects": HEAD_NEURON,
    "gaussian_effects": HEAD_NEURON,
    "activation_statistics": NEURON,
    "dla_scores": NEURON,
    "qrnca_scores": NEURON,
    "llm_knowledge_scores": NEURON,
    "group_patching_effects": None,
}


def divide(instances: Sequence[Instance], n_parts: int, seed: int) -> list[list[Instance]]:
    """The instances in `n_parts` parts at random, as equal as can be.

    Raises ValueError for fewer than two instances a part, or an odd number of parts.
    """
    if n_parts < 2 or n_parts % 2:
        raise ValueError(f"halves need an even number of parts, not {n_parts}")
    if len(instances) < 2 * n_parts:
        raise ValueError(
            f"{len(instances)} discovery instances are too few for {n_parts} parts; lower "
            "stability.parts"
        )
    by_id = {instance.instance_id: instance for instance in instances}
    order = seeded_order(by_id, seed, "stability")
    return [[by_id[name] for name in order[part::n_parts]] for part in range(n_parts)]


def measure_stability(
    parts: Sequence[Sequence[Instance]],
    measures: Mapping[str, Measure],
    head_ranking: pd.DataFrame,
    rankers: Sequence[str],
    ratio: float,
    draws: int,
    clip: str,
    seed: int,
    options: Options | None = None,
) -> pd.DataFrame:
    """The RANKER_STABILITY artifact: agreement of top sets between random halves of the samples.

    `measures` makes each artifact that the rankers read, of some instances; the heads and their
    weights are those of all samples. No rows, and nothing measured, if there are no rankers. A
    ranker of `rankers` for which not `can_be_drawn` raises ValueError.
    """
    for name in rankers:
        if not can_be_drawn(name):
            raise ValueError(f"the order of {name} does not depend on the task's samples alone")
    if not rankers:
        return pd.DataFrame(columns=RANKER_STABILITY.names)
    measured = [{name: measure(part) for name, measure in measures.items()} for part in parts]
    sizes = [len(part) for part in parts]
    chosen = list(range(len(parts)))
    tops = {}

    def top(places: tuple[int, ...]) -> dict[str, frozenset]:
        if places not in tops:
            frames = {
                name: pool(name, [measured[p][name] for p in places], [sizes[p] for p in places])
                for name in measures
            }
            frames = _clipped(frames, clip)
            ranking = rank_neurons(_measurements(frames, head_ranking, options), rankers, [0])
            tops[places] = {name: top_set(ranking, name, ratio) for name in rankers}
        return tops[places]

    whole = top(tuple(chosen))
    rows = []
    for draw in range(draws):
        order = seeded_order(chosen, seed, "halves", draw)
        halves = (sorted(order[: len(order) // 2]), sorted(order[len(order) // 2 :]))
        first, second = (top(tuple(half)) for half in halves)
        for name in rankers:
            size = len(whole[name])
            with_whole = sum(len(half[name] & whole[name]) for half in (first, second)) / 2
            between = len(first[name] & second[name])
            rows.append((name, draw, size, between / size, with_whole / size))
    return pd.DataFrame(rows, columns=RANKER_STABILITY.names)


def pool(name: str, frames: Sequence[pd.DataFrame], sizes: Sequence[int]) -> pd.DataFrame:
    """One artifact of all samples from those of disjoint parts with `sizes` samples.

    Rows are added as they stand, which for millions of them takes seconds where looking their keys
    up would take minutes. Raises ValueError for parts that do not have the same keys in one order.
    """
    key = KEYS[name]
    if key is None:
        return pd.concat(frames, ignore_index=True)
    first = frames[0]
    keys = {column: first[column].to_numpy() for column in key}
    for number, frame in enumerate(frames):
        if not all(np.array_equal(frame[column], values) for column, values in keys.items()):
            raise ValueError(f"{name}: part {number} has other rows than part 0, in {key}")
    pooled = dict(keys)
    weights = np.asarray(sizes) / sum(sizes)
    for column in first.columns.drop(key):
        values = [frame[column].to_numpy() for frame in frames]
        if column not in SUMMED:
            values = [weight * own for weight, own in zip(weights, values, strict=True)]
        pooled[column] = sum(values)
    return pd.DataFrame(pooled)


def _clipped(frames: dict[str, pd.DataFrame], clip: str) -> dict[str, pd.DataFrame]:
    """Drops clipped after the mean are those of the pooled means."""
    if clip != "after_mean":
        return frames
    clipped = dict(frames)
    for name in {"neuron_effects", "gaussian_effects"} & set(frames):
        frame = frames[name].copy()
        own = base_contributions(frame)[frame["layer"], frame["neuron"]]
        frame["drop"] = np.maximum(0, own - frame["contribution"])
        clipped[name] = frame
    return clipped


def _measurements(
    frames: Mapping[str, pd.DataFrame], head_ranking: pd.DataFrame, options: Options | None
) -> Measurements:
    fields: dict[str, Any] = {
        ("activations" if k == "activation_statistics" else k): v for k, v in frames.items()
    }
    return Measurements(head_ranking=head_ranking, options=options or Options(), **fields)
