"""How stable a ranker's top neurons are: the same order from other discovery samples.

The samples are divided into parts, each part is measured once, and a half of the samples is any
half of the parts: their measurements are pooled, not repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hones_core.attribution.measurements import Measurements, Options
from hones_core.attribution.rankers import rank_neurons
from hones_core.benchmark.seeding import seeded_order
from hones_core.neuron_sets import top_set
from hones_core.ranker_catalogue import can_be_drawn
from hones_core.schemas.heads import BASE
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
    weights are those of all samples. A ranker of `rankers` for which not `can_be_drawn` raises
    ValueError.
    """
    for name in rankers:
        if not can_be_drawn(name):
            raise ValueError(f"the order of {name} does not depend on the task's samples alone")
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
    names = ["ranker", "draw", "n_neurons", "between_halves", "with_all"]
    return pd.DataFrame(rows, columns=names)


def pool(name: str, frames: Sequence[pd.DataFrame], sizes: Sequence[int]) -> pd.DataFrame:
    """One artifact of all samples from those of disjoint parts with `sizes` samples."""
    key = KEYS[name]
    together = pd.concat(frames, ignore_index=True)
    if key is None:
        return together
    weights = np.repeat(np.asarray(sizes) / sum(sizes), [len(frame) for frame in frames])
    values = [column for column in together.columns if column not in key]
    means = [column for column in values if column not in SUMMED]
    together[means] = together[means].mul(weights, axis=0)
    return together.groupby(key, as_index=False)[values].sum()


def _clipped(frames: dict[str, pd.DataFrame], clip: str) -> dict[str, pd.DataFrame]:
    """Drops clipped after the mean are those of the pooled means."""
    if clip != "after_mean":
        return frames
    clipped = dict(frames)
    for name in {"neuron_effects", "gaussian_effects"} & set(frames):
        frame = frames[name].copy()
        base = frame[frame["head_layer"] == BASE].set_index(NEURON)["contribution"]
        own = base.loc[list(map(tuple, frame[NEURON].to_numpy()))].to_numpy()
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
