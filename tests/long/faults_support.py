"""Runs of the small chain that are undisturbed, killed, or short of disk, and what they leave."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from chain_support import SMALL_TOY
from workflow_support import copy_project, succeed, write_config

# Not the same in two runs, and why.
EXCEPTIONS = {
    "benchmarks": "seconds and memory of the jobs",
    "logs": "rates and times left",
    "seconds.csv": "seconds of localization",
    "efficiency.csv": "made of these seconds",
    "efficiency.md": "made of these seconds",
    "index.html": "shows the seconds of the jobs",
}


def small_project(folder: Path) -> tuple[Path, list[str]]:
    """A project with the small chain's configuration, and Snakemake's arguments for it."""
    project = copy_project(folder)
    return project, ["--configfile", write_config(project, "small.yaml", SMALL_TOY)]


def digests(project: Path) -> dict[str, str]:
    """{file: digest} of all that a run leaves, but the exceptions."""
    results = project / "results" / "small"
    return {
        path.relative_to(results).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(results.rglob("*"))
        if path.is_file()
        and not EXCEPTIONS.keys() & set(path.relative_to(results).parts)
        and not path.name.startswith(".snakemake")
    }


class Killer:
    """Starts a run again and again, and kills it at random moments: what a user would do by hand.

    A third of the kills take Snakemake and all its jobs at once, as a power cut would, a third one
    job's process, a third Snakemake alone: its jobs are orphans when the next run starts, at once.
    """

    def __init__(self, project: Path, arguments: list[str], seed: int):
        self.project, self.arguments = project, arguments
        self.random = random.Random(seed)
        self.kills = {"workflow": 0, "job": 0, "snakemake": 0}
        self.orphans: list[psutil.Process] = []

    def run_and_kill(self, after: tuple[float, float]) -> bool:
        """Whether the run was killed; it is not if it ended before the moment came."""
        succeed(self.project, "--unlock", *self.arguments)
        command = [sys.executable, "-m", "snakemake", "--cores", "2", *self.arguments]
        with (self.project / "killed.log").open("a") as log:
            run = subprocess.Popen(
                command, cwd=self.project, stdout=log, stderr=log, start_new_session=True
            )
        try:
            run.wait(self.random.uniform(*after))
            assert run.returncode == 0, (self.project / "killed.log").read_text()[-3000:]
            return False
        except subprocess.TimeoutExpired:
            self._kill(run)
        return True

    def _kill(self, run: subprocess.Popen) -> None:
        jobs = [
            process
            for process in psutil.Process(run.pid).children(recursive=True)
            if _is_job(process)
        ]
        kind = min(self.kills, key=lambda kind: self.kills[kind]) if jobs else "workflow"
        self.kills[kind] += 1
        if kind == "job":
            self.random.choice(jobs).kill()
            assert run.wait(300) != 0, "Snakemake did not notice that a job was killed"
        elif kind == "snakemake":
            self.orphans += jobs
            os.kill(run.pid, signal.SIGKILL)
            run.wait()
        else:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            _gone(run.pid)

    def orphans_left(self) -> list[psutil.Process]:
        """Jobs whose Snakemake was killed alone, and that still run."""
        return [job for job in self.orphans if _is_job(job)]


def _is_job(process: psutil.Process) -> bool:
    try:
        return any(".snakemake/scripts" in part for part in process.cmdline())
    except psutil.NoSuchProcess:  # it has ended since it was listed
        return False


def _gone(group: int) -> None:
    """Wait until no process of the group is left."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError(f"processes of group {group} survived SIGKILL")
