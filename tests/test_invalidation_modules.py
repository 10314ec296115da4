"""The contract of docs/invalidation.yaml: modules re-run exactly the declared steps.

Here those that are declared together are changed together; `make test-long` changes each by itself
(tests/long/test_each_module.py).
"""

import re

import pytest
from invalidation_support import (
    CONTRACT,
    check_changed_modules,
    complete_project,
    module_files,
    planned,
)
from workflow_support import ROOT


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return complete_project(tmp_path_factory.mktemp("project"))


def test_every_module_is_declared_once():
    declared = [name for change in CONTRACT.modules for name in change.names]
    assert len(declared) == len(set(declared))
    undeclared = set(module_files(ROOT)) - set(declared)
    assert not undeclared, f"say in docs/invalidation.yaml what these re-run: {undeclared}"
    assert set(declared) <= set(module_files(ROOT))


def test_every_rule_is_declared_once():
    files = [ROOT / "Snakefile", *sorted(ROOT.glob("rules/*.smk"))]
    named = re.compile(r"^ *(?:rule|checkpoint|use rule \w+ as) (\w+)", re.MULTILINE)
    rules = [name for file in files for name in named.findall(file.read_text())]
    declared = [*CONTRACT.reads, *CONTRACT.targets, *CONTRACT.outside]
    undeclared = set(rules) - set(declared)
    assert not undeclared, (
        f"say in docs/invalidation.yaml what these read, or under `outside` why they are in no "
        f"complete run: {undeclared}"
    )
    assert sorted(declared) == sorted(rules)


@pytest.mark.parametrize("change", CONTRACT.modules, ids=lambda change: change.names[0])
def test_changed_modules_re_run_exactly_the_declared_steps(project, change):
    check_changed_modules(project, change.names, change)


def test_comments_docstrings_and_format_re_run_nothing(project):
    for path in [*module_files(project).values(), *project.glob("workflow_scripts/*.py")]:
        text = path.read_text()
        first = text.index('"""') + 3  # every module begins with its docstring
        said = text[:first] + "In other words. " + text[first:]
        path.write_text(said.replace("\n\n\n", "\n\n# a comment\n\n\n\n") + "\n# the end\n")
    assert planned(project).rules == frozenset()
