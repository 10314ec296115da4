"""Running the workflow in a copy of the project, as a user would."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PARTS = ("Snakefile", "config.yaml", "configs", "rules", "workflow_scripts", "hones_core")
MORE_PARTS = ("profiles", "envs", "resources", "report")
# Before it touches a job's files, Snakemake waits 0.1 s for clocks that are coarser than today's.
TOUCH_AT_ONCE = """
from snakemake.cli import main
from snakemake.executors.touch import Executor

assert Executor.SLEEPING_TIME == 0.1
Executor.SLEEPING_TIME = 0
main()
"""


def copy_project(folder: Path) -> Path:
    """A copy of everything that the workflow needs, without results."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PARTS + MORE_PARTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run snakemake there; the caller looks at the exit status."""
    return _run(project, "-m", "snakemake", *arguments)


def succeed(project: Path, *arguments: str) -> str:
    """Run snakemake and return what it said; an error shows all of it."""
    return _said(snakemake(project, *arguments))


def _run(project: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)


def _said(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def write_config(project: Path, name: str, values: dict) -> str:
    """Write an overlay of the configuration and return its path for --configfile."""
    path = project / name
    path.write_text(yaml.safe_dump(values))
    return str(path)


def pretend_complete(project: Path, *arguments: str) -> None:
    """Let Snakemake believe that everything was run with the code and configuration of now."""
    summary = succeed(project, "--summary", *arguments)
    for line in summary.splitlines():
        if "\t" not in line or line.startswith("output_file"):
            continue
        path = project / line.split("\t")[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            path.write_text("placeholder")
        else:
            path.mkdir(exist_ok=True)
    touching = ("--cores", "1", "--touch", "--forceall", *arguments)
    _said(_run(project, "-c", TOUCH_AT_ONCE, *touching))


def planned(project: Path, *arguments: str) -> set[str]:
    """What a dry run would do: {"rule", or "rule/task" where the rule has a task}."""
    said = succeed(project, "--cores", "1", "--dry-run", *arguments)
    jobs = set()
    for block in re.split(r"\n(?=(?:local)?rule |\[)", said.split("Job stats:", 1)[-1]):
        rule = re.match(r"(?:local)?rule (\w+):", block)
        if rule:
            task = re.search(r"wildcards: .*\btask=(\w+)", block)
            jobs.add(rule[1] + (f"/{task[1]}" if task else ""))
    return jobs - {"all"}
