"""Logits that a layer loses for each kind of token, over the test set (METHOD 9)."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from hones_core.neuron_sets import salient_sets
from hones_core.schemas.lens import KINDS, LOGIT_LENS
from hones_core.statistics import (
    NO_ESTIMATE,
    Estimate,
    Sampled,
    combine,
    difference,
    resampled_totals,
    summarize,
)
from hones_core.tables.common import (
    Bootstrap,
    Frames,
    columns_of,
    models_of,
    table_frame,
    tasks_of,
)

EMPTY = {"layer": -1, "kind": "none", "n_instances": 0}  # the place of an empty set


def logit_lens(
    by_layer: Frames,
    overlap_groups: Mapping[str, pd.DataFrame],
    dominant_groups: Mapping[str, pd.DataFrame],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Mean lost logits in the columns of schemas.lens.LOGIT_LENS.

    `by_layer` are LOGIT_LENS_BY_LAYER of each (model, task). A set without neurons has one row that
    says so. Raises ValueError if a set that has neurons was not measured, or not for all instances.
    """
    rows = []
    for model in models_of(by_layer):
        for task in tasks_of(by_layer, model):
            frame = by_layer[model, task]
            sets = salient_sets(overlap_groups[model], dominant_groups[model], task)
            for name, (group, neurons) in sets.items():
                place: dict[str, Any] = {"model": model, "task": task, "set": name}
                place |= {"group": group}
                place |= {"n_neurons": len(neurons)}
                if not neurons:
                    rows.append(place | EMPTY | _columns(NO_ESTIMATE, NO_ESTIMATE))
                    continue
                part = frame[(frame["set"] == name) & (frame["group"] == group)]
                rows += [place | row for row in _rows(part, f"{model}, {task}, {name}", bootstrap)]
    return table_frame(rows, LOGIT_LENS, bootstrap)


def _rows(part: pd.DataFrame, what: str, bootstrap: Bootstrap) -> Iterator[dict]:
    """One row for each layer and kind of one set."""
    if part.empty:
        raise ValueError(f"the logit lens of {what} was not measured, though it has neurons")
    wide = part.pivot_table(index="instance_id", columns=["layer", "kind"], values="lost")
    values = wide.to_numpy()  # [N, layers * kinds]
    if np.isnan(values).any():
        raise ValueError(f"the logit lens of {what} lacks some instances at some layer")
    counts = bootstrap.counts(wide.index)
    resampled = resampled_totals(counts, values) / len(values)
    found = {
        place: Sampled(float(values[:, column].mean()), resampled[:, column])
        for column, place in enumerate(wide.columns)
    }
    for layer in sorted({layer for layer, _ in found}):
        others = found[layer, "other"]
        for kind in KINDS:
            lost, excess = summarize(found[layer, kind], bootstrap.level), NO_ESTIMATE
            if kind != "other":
                beyond = combine(difference, others, found[layer, kind])
                excess = summarize(beyond, bootstrap.level)
            place = {"layer": int(layer), "kind": kind, "n_instances": len(values)}
            yield place | _columns(lost, excess)


def _columns(lost: Estimate, excess: Estimate) -> dict[str, float]:
    return {**columns_of("lost", lost), **columns_of("excess", excess)}
