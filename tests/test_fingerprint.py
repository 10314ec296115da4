"""Code digests: what changes them and what does not."""

from pathlib import Path

import pytest

from hones_core.fingerprint import code_digest, versions

FILES = {
    "hones_core/__init__.py": '"""Package."""\n',
    "hones_core/base.py": "def f(x):\n    return x + 1\n",
    "hones_core/tasks/__init__.py": "from hones_core.tasks import one, two\n",
    "hones_core/tasks/one.py": "A = 1\n",
    "hones_core/tasks/two.py": "B = 2\n",
    "hones_core/unused.py": "C = 3\n",
    "workflow_scripts/__init__.py": "",
    "workflow_scripts/make.py": (
        '"""Make."""\nimport json\nfrom hones_core.tasks import one\n'
        "def g():\n    from hones_core import base\n    return base.f(one.A)\n"
    ),
}


@pytest.fixture
def project(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def digest(root: Path, **arguments) -> dict[str, str]:
    return code_digest("workflow_scripts/make.py", root=root, **arguments)


def edited(root: Path, tmp_path_factory, name: str, text: str) -> dict[str, str]:
    """The digest of a copy in which one file has another text."""
    copy = tmp_path_factory.mktemp("copy")
    for file in FILES:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_text(text if file == name else (root / file).read_text())
    return digest(copy)


def test_the_closure_holds_what_is_imported_and_nothing_else(project):
    assert set(digest(project)) == set(FILES) - {
        "hones_core/unused.py",
        "workflow_scripts/__init__.py",
    }


def test_modules_of_other_tasks_can_be_left_out(project):
    assert "hones_core/tasks/two.py" not in digest(project, without=["hones_core.tasks.two"])


@pytest.mark.parametrize(
    "text",
    [
        "# a comment\ndef f(x):\n\n    return (x + 1)  # another\n",
        'def f(x):\n    """A docstring."""\n    return x + 1\n',
        '"""Module docstring."""\n\n\ndef f(x): return x+1\n',
    ],
)
def test_comments_docstrings_and_format_change_nothing(project, tmp_path_factory, text):
    assert edited(project, tmp_path_factory, "hones_core/base.py", text) == digest(project)


def test_a_change_of_meaning_changes_exactly_that_module(project, tmp_path_factory):
    text = "def f(x):\n    return x + 2\n"
    before, after = digest(project), edited(project, tmp_path_factory, "hones_core/base.py", text)
    assert {name for name in before if before[name] != after[name]} == {"hones_core/base.py"}


def test_relative_imports_are_refused(project, tmp_path_factory):
    with pytest.raises(ValueError, match="relative imports"):
        edited(project, tmp_path_factory, "hones_core/base.py", "from . import tasks\n")


def test_versions_are_those_installed():
    import numpy

    assert versions("numpy") == {"numpy": numpy.__version__}


def test_every_script_of_the_workflow_has_a_digest():
    root = Path(__file__).parent.parent
    for script in sorted((root / "workflow_scripts").glob("*.py")):
        assert len(code_digest(script.relative_to(root))) >= 1
