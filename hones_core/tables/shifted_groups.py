"""The overlap groups under a shift: images without their texts, other data (Tables 12, 13)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from hones_core.neuron_sets import groups_with
from hones_core.schemas.selectivity import OOD_GROUP_DROP, TEXT_ERASURE
from hones_core.statistics import Score
from hones_core.tables.common import (
    Bootstrap,
    PaperFigures,
    paired_scores,
    same_instances,
    table_frame,
)
from hones_core.tables.groups import beside_random, caption_drops, check_size, drops_by_trial
from hones_core.tasks.ood_sets import OOD_SETS

UNCHANGED = ""  # the group of rows of the unchanged model
GROUP_KINDS = {1: "specific", 2: "pair", 3: "triple"}  # more tasks: general


def text_erasure(
    base: Mapping[str, pd.DataFrame],
    original: Mapping[str, pd.DataFrame],
    erased: Mapping[str, pd.DataFrame],
    overlap_groups: Mapping[str, pd.DataFrame],
    tasks: Sequence[str],
    score: Score,
    paper: pd.DataFrame | None,
    compare_with: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Drops of captioning in percent, in the columns of schemas.selectivity.TEXT_ERASURE.

    All are by model: `base` and `original` BASE_PREDICTIONS and GROUP_PREDICTIONS of captioning, of
    which the split "test" is used, `erased` TEXT_ERASED_PREDICTIONS, which hold the unchanged model
    under the empty group. `paper` is caption_text_erasure.csv. Raises ValueError if a group that
    has neurons was not masked, AlignmentError if the instances differ.
    """
    rows = []
    for setting in ("original", "text_erased"):
        figures = PaperFigures(caption_drops(paper, setting), "group", "drop", compare_with, None)
        for model, frame in (original if setting == "original" else erased).items():
            if setting == "original":
                masked = frame.query("split == 'test'")
                unmasked = same_instances(base[model], masked)
            else:
                masked = frame[frame["group"] != UNCHANGED]
                unmasked = frame[frame["group"] == UNCHANGED]
            names = groups_with("caption", tasks)
            found = _group_rows(
                unmasked,
                masked,
                overlap_groups[model],
                names,
                score,
                bootstrap,
                f"{model} {setting}",
            )
            for row in found:
                place: dict[str, Any] = {"model": model, "setting": setting}
                place |= {"paper_model": figures.model(model)}
                place |= {"paper_drop": figures.figure(model, row["group"], "caption")}
                rows.append(place | row)
    return table_frame(rows, TEXT_ERASURE, bootstrap)


def ood_group_drop(
    predictions: Mapping[tuple[str, str], pd.DataFrame],
    overlap_groups: Mapping[str, pd.DataFrame],
    tasks: Sequence[str],
    scores: Mapping[str, Score],
    paper: pd.DataFrame | None,
    bootstrap: Bootstrap,
) -> pd.DataFrame:
    """Drops in percent, in the columns of schemas.selectivity.OOD_GROUP_DROP.

    `predictions` are OOD_GROUP_PREDICTIONS of each (model, out-of-distribution set), with the
    unchanged model under the empty group; `scores` are by set. `paper` is
    ood_group_drop_percent.csv, which does not name its model. Raises as `text_erasure` does.
    """
    known = {} if paper is None else _paper_by_group(paper)
    rows = []
    for (model, ood_set), frame in predictions.items():
        task = OOD_SETS[ood_set].in_domain_task
        unmasked = frame[frame["group"] == UNCHANGED]
        masked = frame[frame["group"] != UNCHANGED]
        what = f"{model}, {ood_set}"
        names = groups_with(task, tasks)
        for row in _group_rows(
            unmasked, masked, overlap_groups[model], names, scores[ood_set], bootstrap, what
        ):
            group = row["group"]
            place = {"model": model, "ood_set": ood_set, "in_domain_task": task}
            place |= {"group_kind": GROUP_KINDS.get(group.count("+") + 1, "general")}
            rows.append(place | row | {"paper_drop": known.get((ood_set, group), float("nan"))})
    return table_frame(rows, OOD_GROUP_DROP, bootstrap)


def _group_rows(
    unmasked: pd.DataFrame,
    masked: pd.DataFrame,
    groups: pd.DataFrame,
    names: Sequence[str],
    score: Score,
    bootstrap: Bootstrap,
    what: str,
) -> Iterator[dict]:
    """A row of drops for each named group, empty ones included."""
    base_score = paired_scores({"base": unmasked}, score, bootstrap, what)["base"].value
    drops = drops_by_trial(unmasked, masked, score, bootstrap)
    sizes = groups.groupby("group").size()
    for group in names:
        n_neurons = int(sizes.get(group, 0))
        check_size(masked, group, n_neurons, f"group {group} of {what}")
        yield {
            "group": group,
            "n_neurons": n_neurons,
            "n_instances": len(unmasked),
            "base_score": base_score,
            **beside_random(drops.get(group, {}), bootstrap.level),
        }


def _paper_by_group(paper: pd.DataFrame) -> dict[tuple[str, str], float]:
    """The figures whose group the paper names: specific and general ones, and those that lead."""
    found = {}
    for row in paper.to_dict("records"):
        task = OOD_SETS[row["dataset"]].in_domain_task
        named = {"specific": task, "general": "vqa+ocr+caption+retrieval"}
        group = named.get(row["group_kind"], row["group"])
        if isinstance(group, str) and group:
            found[row["dataset"], group] = float(row["relative_drop_percent"])
    return found
