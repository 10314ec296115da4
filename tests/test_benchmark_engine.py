"""`benchmarks/engine.py --quick`: it runs, says what it should, and the engines agree."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
WORKS = ("short_answer", "caption", "retrieval", "neuron", "steering")


@pytest.fixture(scope="module")
def found() -> dict:
    command = [sys.executable, "benchmarks/engine.py", "--quick", "--json"]
    search_path = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": search_path}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "toy_llava"])
class TestQuick:
    def test_every_kind_of_work_has_its_figures(self, found, family):
        for work in WORKS:
            assert found[family][f"{work}_speedup"] > 0
            assert f"{work}_speedup_over_nnsight" in found[family]
        assert found[family]["steering_first_epoch_speedup"] > 0
        assert found[family]["bound_share_short_answer"] > 0

    def test_fast_and_plain_decide_alike(self, found, family):
        assert found[family]["decisions_compared"] > 20
        assert found[family]["decisions_differing"] == 0

    def test_steering_learns_the_same_scales(self, found, family):
        assert found[family]["steering_notes"]["largest_difference"] < 1e-5

    def test_nnsight_is_measured_or_its_absence_explained(self, found, family):
        said = found[family]["environment"]["nnsight"]
        measured = found[family]["short_answer_speedup_over_nnsight"] is not None
        assert said.startswith("nnsight " if measured else "not available: ")
