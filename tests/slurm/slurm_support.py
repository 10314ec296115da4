"""Snakemake submitting through profiles/slurm, and what SLURM says of its jobs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from single_node import FEATURE, MISSING, PARTITION, UP

SECONDS = 800  # that a run may take before it counts as hanging
POLLING = ("--slurm-init-seconds-before-status-checks", "3")  # jobs here take seconds, not hours


def need_slurm() -> None:
    """Skip, and say why, where the single node is not up. Any other SLURM is left alone."""
    if UP not in os.environ:
        reason = os.environ.get(MISSING, "not started by `make test-slurm`")
        pytest.skip(f"NOTHING IS TESTED ON A REAL SLURM HERE: {reason}")


def set_up_profile(project: Path) -> None:
    """Set partition and constraint where a user would: once each, in profiles/slurm."""
    file = project / "profiles" / "slurm" / "config.yaml"
    text, partitions = re.subn(
        r"^  slurm_partition: .*",
        f"  slurm_partition: \"'{PARTITION}'\"",
        file.read_text(),
        flags=re.M,
    )
    text, constraints = re.subn(
        r"^    # constraint: .*", f"    constraint: \"'{FEATURE}'\"", text, flags=re.M
    )
    assert (partitions, constraints) == (1, 1)
    file.write_text(text)


class Run:
    """A Snakemake in the background; what it says goes to a file of the project."""

    started: ClassVar[list["Run"]] = []

    def __init__(self, project: Path, *arguments: str):
        self.log = project / f"run-{len(list(project.glob('run-*.log')))}.log"
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with self.log.open("w") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *arguments],
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_hears_ctrl_c,
            )
        self.started.append(self)

    def said(self) -> str:
        return self.log.read_text()

    def end(self) -> int:
        """The exit status; a run that hangs is killed and fails the test."""
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the run hangs:\n{self.said()}") from None

    def succeed(self) -> str:
        assert self.end() == 0, self.said()
        return self.said()


def _hears_ctrl_c() -> None:
    """A process inherits that SIGINT is ignored, as of whatever a shell runs in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class SlurmRun(Run):
    """One that submits to SLURM through a profile."""

    def __init__(self, project: Path, *arguments: str, profile: str = "slurm"):
        super().__init__(project, *arguments, "--workflow-profile", f"profiles/{profile}", *POLLING)

    def jobs(self) -> list[dict[str, str]]:
        """This run's jobs in the order of submission, as `scontrol show job` has them."""
        found = re.search(r"SLURM run ID: (\S+)", self.said())
        return [one for one in all_jobs() if found and one["JobName"] == found[1]]

    def jobs_of(self, rule: str) -> list[dict[str, str]]:
        return [one for one in self.jobs() if rule_of(one) == rule]

    def states(self, rule: str | None = None) -> list[str]:
        """The states of all jobs or of a rule's, once SLURM has cleaned up after each."""
        while True:
            jobs = self.jobs() if rule is None else self.jobs_of(rule)
            states = [one["JobState"] for one in jobs]
            if "COMPLETING" not in states:
                return states
            time.sleep(0.5)

    def wait_for(self, what: str, happened: Callable[[], object]) -> None:
        """Wait until something has happened while the run goes on."""
        deadline = time.monotonic() + SECONDS
        while not happened():
            assert self.process.poll() is None, f"ended before {what}:\n{self.said()}"
            assert time.monotonic() < deadline, f"waited in vain for {what}:\n{self.said()}"
            time.sleep(0.5)

    def wait_for_job(self, rule: str, state: str) -> dict[str, str]:
        """The first job of the rule that is in that state."""

        def in_state():
            return [one for one in self.jobs_of(rule) if one["JobState"] == state]

        self.wait_for(f"a job of {rule} that is {state}", in_state)
        return in_state()[0]


def stop_runs() -> None:
    """Kill what a failed test has left, with its children; its jobs go with SLURM."""
    for run in Run.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)
        run.process.wait()


def all_jobs() -> list[dict[str, str]]:
    """Every job of this SLURM, from the first to the last."""
    told = command("scontrol", "show", "job", "--oneliner")
    jobs = [dict(re.findall(r"(\S+?)=(\S*)", line)) for line in told.splitlines()]
    return [one for one in jobs if "JobId" in one]


def rule_of(job: dict[str, str]) -> str:
    """The rule that the plugin has noted in the job's comment."""
    return re.match(r"rule_(\w+?)(_wildcards_.*)?$", job["Comment"])[1]


def memory_mb(job: dict[str, str]) -> float:
    """What was asked for; SLURM writes 64000 MB as 62.50G."""
    number, unit = re.match(r"([\d.]+)([MG])$", job["MinMemoryNode"]).groups()
    return float(number) * {"M": 1, "G": 1024}[unit]


def command(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout
