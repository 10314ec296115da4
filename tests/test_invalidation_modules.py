"""The contract of docs/invalidation.yaml: every module re-runs exactly the declared steps."""

from pathlib import Path

import pytest
from invalidation_support import CONTRACT, check, complete_project, planned
from workflow_support import ROOT

MODULES = {name: change for change in CONTRACT.modules for name in change.names}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return complete_project(tmp_path_factory.mktemp("project"))


def module_name(path: Path) -> str:
    """Below hones_core: engine.fast, or engine for the package; hones_core for itself."""
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "hones_core"


def files(folder: Path) -> dict[str, Path]:
    library = folder / "hones_core"
    return {module_name(path.relative_to(library)): path for path in library.rglob("*.py")}


def test_every_module_is_declared_once():
    declared = [name for change in CONTRACT.modules for name in change.names]
    assert len(declared) == len(set(declared))
    undeclared = set(files(ROOT)) - set(declared)
    assert not undeclared, f"say in docs/invalidation.yaml what these re-run: {undeclared}"
    assert set(declared) <= set(files(ROOT))


@pytest.mark.parametrize("name", MODULES)
def test_a_changed_module_re_runs_exactly_the_declared_steps(project, name):
    path = files(project)[name]
    text = path.read_text()
    path.write_text(f"{text}\n_CHANGED = 1\n")
    try:
        check(planned(project), MODULES[name])
    finally:
        path.write_text(text)


def test_comments_docstrings_and_format_re_run_nothing(project):
    for path in files(project).values():
        text = path.read_text()
        first = text.index('"""') + 3  # every module begins with its docstring
        said = text[:first] + "In other words. " + text[first:]
        path.write_text(said.replace("\n\n\n", "\n\n# a comment\n\n\n\n") + "\n# the end\n")
    assert planned(project).rules == frozenset()
