"""Tables of overlap groups and steering, against their definitions."""

import numpy as np
import pytest
from tables_support import EMPTY, GROUPS, N, row_of, score_of

from hones_core.tables.groups import group_drop

pytest_plugins = ["tables_fixtures"]


def test_group_drop_equals_its_definition(group_inputs, groups):
    test = group_inputs["base"]["qwen", "ocr"].query("split == 'test'")
    rows = group_inputs["masked"]["qwen", "ocr"].query("group == 'vqa+ocr' and split == 'test'")
    of_base = score_of(test, "ocr")
    trials = {
        trial: (of_base - score_of(trial_rows, "ocr")) / of_base * 100
        for trial, trial_rows in rows.groupby("trial")
    }
    controls = [drop for trial, drop in trials.items() if trial >= 0]
    found = row_of(groups, model="qwen", task="ocr", group="vqa+ocr")
    assert found["drop"] == pytest.approx(trials[-1])
    assert found["random_mean"] == pytest.approx(np.mean(controls))
    assert found["random_sd"] == pytest.approx(np.std(controls, ddof=1))
    assert found["excess"] == pytest.approx(trials[-1] - np.mean(controls))
    assert found["shown"] and found["dominant"]
    assert (found["n_trials"], found["n_tasks"], found["n_instances"]) == (3, 2, N)


def test_each_task_has_its_eight_groups(groups):
    rows = groups.query("model == 'llava'")
    assert (rows.groupby("task").size() == 8).all()
    assert all(row["task"] in row["group"].split("+") for _, row in rows.iterrows())


def test_empty_group_is_a_row_without_a_drop(groups):
    for task in ("ocr", "retrieval"):
        found = row_of(groups, model="llava", task=task, group=EMPTY)
        assert (found["n_neurons"], found["n_trials"]) == (0, 0)
        assert np.isnan([found["drop"], found["random_mean"], found["excess"]]).all()
        assert not found["shown"] and not found["dominant"]


def test_dominant_group_of_each_task(groups):
    chosen = groups.query("model == 'llava' and dominant").set_index("task")["group"].to_dict()
    assert chosen == {"vqa": "vqa+ocr", "ocr": "vqa+ocr", "retrieval": GROUPS[-1]}


def test_paper_group_drops_are_those_of_the_original_images(groups):
    """The paper gives in-domain group drops for captioning only, beside the text erasure."""
    known = groups[groups["paper_drop"].notna()]
    assert dict(zip(known["group"], known["paper_drop"], strict=True)) == {
        "vqa+caption": 5.0,
        "vqa+ocr+caption": 14.3,
    }
    assert set(known["task"]) == {"caption"} and set(known["model"]) == {"llava"}


def test_group_that_was_not_masked_is_named(group_inputs):
    place = ("llava", "vqa")
    rows = group_inputs["masked"][place]
    inputs = {**group_inputs, "masked": {place: rows[rows["group"] != "vqa+caption"]}}
    inputs["overlap_groups"] = {"llava": group_inputs["overlap_groups"]["llava"]}
    # With one task, only the group of that task alone remains.
    assert group_drop(**inputs)["group"].tolist() == ["vqa"]
    inputs["masked"]["llava", "caption"] = group_inputs["masked"]["llava", "caption"]
    with pytest.raises(ValueError, match=r"group vqa\+caption of llava, vqa: has 6 neurons"):
        group_drop(**inputs)


def test_group_masked_with_another_size_is_refused(group_inputs):
    place = ("llava", "vqa")
    rows = group_inputs["masked"][place].copy()
    rows.loc[rows["group"] == "vqa", "n_neurons"] = 4
    with pytest.raises(ValueError, match="group vqa of llava, vqa: has 1 neurons, but 4"):
        group_drop(**{**group_inputs, "masked": {place: rows}})
