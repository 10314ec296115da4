"""The tutorial does what it says. (The cookbook is run by the test of the toy's chain.)"""

from documents_support import python_of, run_python
from workflow_support import ROOT


def test_the_tutorial_runs_without_the_workflow_in_forty_lines(tmp_path):
    (tmp_path / "resources").symlink_to(ROOT / "resources")
    code = python_of("tutorial.md")
    statements = [
        line for line in code.splitlines() if line.strip() and not line.startswith("from ")
    ]
    assert len(statements) <= 40
    said = run_python(code, tmp_path)
    assert "unchanged" in said and "cross_entropy" in said
