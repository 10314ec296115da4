"""The contract of docs/invalidation.yaml, which is of jobs for single tasks and shards and of joint
tasks, holds for a run of the default, too: one job for all tasks of a model."""

import pytest
from invalidation_support import CONTRACT, changed_modules, overlay, per_model_project, planned

ALL_TASKS = (
    "engine.decode_rows",
    "heads.samples.caption",
    "neurons.idf_tokens",
    "masking.top_ratio",
    "steering.epochs",
    "ood.repeats",
)
SETTINGS = {name: change for change in CONTRACT.settings for name in change.names}
MODULES = {name: change for change in CONTRACT.modules for name in change.names}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return per_model_project(tmp_path_factory.mktemp("project"))


def check(plan, change, more=frozenset()):
    """The declared steps would run, those that this run has."""
    declared = CONTRACT.reruns(change) | more
    if "measure_joint_head_effects" in declared:
        declared |= {"measure_head_effects"}  # which measures these tasks here
    assert plan.rules == declared & plan.follows.keys()


def test_only_what_is_for_shards_joint_tasks_and_fewer_rankers_is_not_in_the_plan(project):
    plan = planned(project)
    assert plan.rules == frozenset()
    left_out = CONTRACT.reads.keys() - plan.follows.keys()
    assert plan.follows.keys() <= CONTRACT.reads.keys()
    gathers = ("head_effects", "neuron_effects", "masked_predictions", "group_predictions")
    assert left_out == {f"gather_{artifact}" for artifact in gathers} | {
        "measure_joint_head_effects",
        "predict_masked_full",
        "rank_neurons_full",
    }


@pytest.mark.parametrize("name", ALL_TASKS)
def test_a_changed_setting_re_runs_the_declared_steps(project, name):
    change = SETTINGS[name]
    check(planned(project, overlay(project, {name: change.values[name]})), change)


@pytest.mark.parametrize("name", ["engine.fast", "attribution.ape", "tasks.vqa"])
def test_a_changed_module_re_runs_the_declared_steps(project, name):
    with changed_modules(project, [name]):
        check(planned(project), MODULES[name])


def test_a_change_of_one_task_s_images_re_runs_the_job_of_all_tasks(project):
    name = "benchmark.outline.colour"
    change = SETTINGS[name]
    plan = planned(project, overlay(project, {name: change.values[name]}))
    # the heads of every task are measured anew, those of VQA that its efficiency is measured with
    check(plan, change, frozenset({"measure_efficiency", "tabulate_efficiency"}))
