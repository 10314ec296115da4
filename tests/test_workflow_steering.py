"""What a change of steering re-runs, on its own tasks and on other data sets."""

import pytest
from workflow_support import copy_project, planned, pretend_complete, write_config

TARGETS = ("all", "ood_steering")
OWN = {"learn_steering_scales", "predict_steered", "tabulate_steering", "write_report"}
ELSEWHERE = {"learn_ood_scales", "predict_ood_steered", "tabulate_ood_steering"}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("steering"))
    pretend_complete(project, *TARGETS)
    return project


def rules(project, *arguments) -> set[str]:
    """The rules that a dry run would run, whatever their tasks."""
    found = {job.split("/")[0] for job in planned(project, *TARGETS, *arguments)}
    return found - set(TARGETS)


def overlay(project, **values) -> tuple[str, str]:
    return "--configfile", write_config(project, "overlay.yaml", values)


def test_the_learning_rate_re_runs_steering_and_nothing_else(complete):
    changed = overlay(complete, steering={"learning_rate": 0.01})
    assert rules(complete, *changed) == OWN | ELSEWHERE


def test_the_divisions_of_other_sets_re_run_those(complete):
    changed = overlay(complete, ood={"tuning_fraction": 0.3})
    assert rules(complete, *changed) == ELSEWHERE | {"build_ood_splits"}


def test_export_re_runs_nothing_and_learning_does(complete):
    file = complete / "hones_core" / "steering" / "export.py"
    file.write_text(file.read_text().replace("NORM_TOLERANCE = 0.02", "NORM_TOLERANCE = 0.03"))
    assert rules(complete) == set()
    file = complete / "hones_core" / "steering" / "transfer.py"
    file.write_text(file.read_text().replace("WHOLE_SET = -1", "WHOLE_SET = -2"))
    assert rules(complete) == ELSEWHERE
