"""Where the support modules are; no test without the single node; no run is left over."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))
from slurm_support import need_slurm, stop_runs


@pytest.fixture(scope="session", autouse=True)
def slurm():
    need_slurm()
    yield
    stop_runs()
