"""What every script shares."""

import subprocess
import sys

import pytest
from workflow_support import ROOT

from workflow_scripts.step import SNAKEMAKE, own_process

STEP = """
import sys, time
from types import SimpleNamespace
from workflow_scripts.step import step

with step(SimpleNamespace(rule="measure", wildcards=["vqa"], log=["step.log"])):
    print("begun", flush=True)
    time.sleep(float(sys.argv[1]))
open("late", "w")
"""
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STEP!r}, *sys.argv[1:]])"


ENDED = "the Snakemake that started this has ended"


def start(folder, seconds: str, **environment: str) -> subprocess.Popen:
    """A process that starts a step of so many seconds, as Snakemake does."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, seconds],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
    )


def ended_process() -> str:
    """The `own_process` of one that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return f"{own_process().rpartition(' ')[0]} {process.pid}"


def test_a_step_ends_with_the_snakemake_that_started_it(tmp_path):
    parent = start(tmp_path, "60")
    assert parent.stdout.readline() == b"begun\n"
    parent.kill()
    parent.communicate(timeout=20)  # until the step, too, has closed its output
    assert ENDED in (tmp_path / "step.log").read_text()
    assert not (tmp_path / "late").exists()


def test_a_step_whose_snakemake_ended_before_it_begins_ends_at_once(tmp_path):
    """The imports before take seconds, and its parent then is another already."""
    parent = start(tmp_path, "60", **{SNAKEMAKE: ended_process()})
    parent.communicate(timeout=20)
    assert ENDED in (tmp_path / "step.log").read_text()
    assert not (tmp_path / "late").exists()


@pytest.mark.parametrize("where", ["here", "elsewhere", "not said"])
def test_a_step_whose_snakemake_is_there_or_not_known_is_left_alone(tmp_path, where):
    named = {"here": own_process(), "elsewhere": f"another {ended_process()}"}
    start(tmp_path, "0.7", **{SNAKEMAKE: named.get(where, "")}).communicate(timeout=20)
    assert (tmp_path / "late").exists() and (tmp_path / "step.log").read_text() == ""
