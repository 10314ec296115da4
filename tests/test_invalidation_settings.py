"""The contract of docs/invalidation.yaml: every setting re-runs exactly the declared steps."""

import os
import shutil
import time
from collections.abc import Iterator
from types import NoneType
from typing import get_args

import pytest
import yaml
from invalidation_support import CONTRACT, check, complete_project, configured, overlay, planned
from pydantic import BaseModel

from hones_core.explain import SCALAR
from hones_core.settings import Settings

SETTINGS = {name: change for change in CONTRACT.settings for name in change.names}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return complete_project(tmp_path_factory.mktemp("project"))


def leaves(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings, those of sections that may be left out too."""
    for name, field in section.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if not inner:
            yield f"{prefix}{name}"
            continue
        listed = NoneType not in kinds and field.annotation is not inner[0]
        yield from leaves(inner[0], f"{prefix}{name}{'[]' if listed else ''}.")


def test_every_setting_is_declared_once():
    known = set(leaves(Settings))
    declared = [name for change in CONTRACT.settings for name in change.names]
    assert len(declared) == len(set(declared))
    sections = {name.rsplit(".", 1)[0] for name in known if "." in name}
    # a mapping by task is declared task by task
    undeclared = {
        name
        for name in known - set(declared)
        if not any(other.startswith(f"{name}.") for other in declared)
    }
    assert not undeclared, f"say in docs/invalidation.yaml what these re-run: {undeclared}"
    mappings = {name for name in declared if name.rsplit(".", 1)[0] in known}
    assert set(declared) - mappings <= known | sections


def test_the_declared_steps_and_what_they_read_are_those_of_a_complete_run(project):
    plan = planned(project)
    assert plan.rules == frozenset()
    assert plan.follows == CONTRACT.reads


def test_the_report_draws_exactly_the_steps_that_it_is_made_by(project):
    ((_, params),) = [job for job in planned(project).params.items() if "write_report" in job[0]]
    behind = {step for step in CONTRACT.reads if "write_report" in CONTRACT.after([step])}
    assert set(params["reads"]) == behind
    for step, read in params["reads"].items():
        assert set(read) == CONTRACT.reads[step]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_changed_setting_re_runs_exactly_the_declared_steps(project, name):
    change = SETTINGS[name]
    values = {**change.beside, name: change.values[name]}
    check(planned(project, overlay(project, values)), change)


def test_values_that_two_settings_exchange_are_noticed(project):
    """Snakemake compares several parameters as a set of values, without their names."""
    splits = configured(project)["benchmark"]["splits"]
    exchanged = {
        "benchmark.splits.development": splits["test"],
        "benchmark.splits.test": splits["development"],
    }
    plan = planned(project, overlay(project, exchanged))
    check(plan, SETTINGS["benchmark.splits.test"])


def test_another_order_of_the_keys_re_runs_nothing(project):
    def reordered(value):
        if not isinstance(value, dict):
            return value
        return {key: reordered(value[key]) for key in reversed(value)}

    path = project / "reordered.yaml"
    path.write_text(yaml.safe_dump(reordered(configured(project)), sort_keys=False))
    assert planned(project, path).rules == frozenset()


def test_every_parameter_is_made_of_builtins(project):
    """Snakemake ignores a change of any other value without a word."""

    def check_builtin(value, where):
        if isinstance(value, dict):
            for key, inner in value.items():
                assert type(key) is str, where
                check_builtin(inner, f"{where}.{key}")
        elif isinstance(value, list | tuple):
            for inner in value:
                check_builtin(inner, where)
        else:
            assert type(value) in (str, int, float, bool, NoneType), f"{where}: {type(value)}"

    jobs = planned(project).params
    for job, params in jobs.items():
        check_builtin(params, job)
    unnamed = {
        name
        for params in jobs.values()
        for name, value in params.items()
        if not isinstance(value, dict)
    }
    assert unnamed == {SCALAR}  # whose name hones_core.explain says, as Snakemake does not


@pytest.mark.parametrize(
    "name",
    [
        "resources/toy/qwen2_5_vl/model.safetensors",  # more than Snakemake's own limit of 1 MB
        "resources/paper/steering_score.csv",
        "workflow_scripts/predict_base.py",
        "hones_core/engine/fast.py",
    ],
)
def test_a_touched_file_of_the_same_bytes_re_runs_nothing(project, name):
    if name.endswith(".safetensors"):
        assert (project / name).stat().st_size > 1_000_000
    os.utime(project / name, (time.time() + 5,) * 2)
    assert planned(project).rules == frozenset()


def test_another_branch_and_back_re_runs_nothing(project):
    """A checkout writes files anew: other bytes, then the old bytes with a new time."""
    names = ("hones_core/engine/fast.py", "rules/heads.smk", "config.yaml")
    kept = {name: (project / name).read_bytes() for name in names}
    shutil.copy(project / "hones_core/heads.py", project / "hones_core/engine/fast.py")
    assert "predict_base" in planned(project).rules
    for name, content in kept.items():
        (project / name).write_bytes(content)
    assert planned(project).rules == frozenset()
