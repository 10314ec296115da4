"""The contract of docs/invalidation.yaml, module by module: each re-runs the declared steps alone.

Takes about five minutes of one core: `make test-long`.
"""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))  # where the support modules are
from invalidation_support import CONTRACT, check_changed_modules, complete_project

MODULES = {name: change for change in CONTRACT.modules for name in change.names}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return complete_project(tmp_path_factory.mktemp("project"))


@pytest.mark.parametrize("name", MODULES)
def test_a_changed_module_re_runs_exactly_the_declared_steps(project, name):
    check_changed_modules(project, [name], MODULES[name])
