"""What every script shares."""

import subprocess
import sys

from workflow_support import ROOT

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


def start(folder, seconds: str) -> subprocess.Popen:
    """A process that starts a step of so many seconds, as Snakemake does."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, seconds],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    assert parent.stdout.readline() == b"begun\n"
    return parent


def test_a_step_ends_with_the_snakemake_that_started_it(tmp_path):
    parent = start(tmp_path, "60")
    parent.kill()
    parent.communicate(timeout=20)  # until the step, too, has closed its output
    assert "the Snakemake that started this has ended" in (tmp_path / "step.log").read_text()
    assert not (tmp_path / "late").exists()


def test_a_step_whose_snakemake_is_there_is_left_alone(tmp_path):
    start(tmp_path, "1.2").communicate(timeout=20)
    assert (tmp_path / "late").exists() and (tmp_path / "step.log").read_text() == ""
