"""Where the support modules are, and the study that every case is tried on."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from study import Study, build


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Study:
    """A whole study, which no case changes."""
    return build(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def study(whole, tmp_path) -> Study:
    """A copy to break."""
    return whole.copy(tmp_path / "study")
