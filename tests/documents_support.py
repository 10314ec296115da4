"""Running what documents tell a reader to run, block after block, as a reader would."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

from workflow_support import ROOT

PAGES = ("README.md", "benchmarks/README.md")  # CONTRIBUTING.md has a test of its own


def pages() -> list[str]:
    """Every document that may hold commands."""
    found = [page for page in PAGES if (ROOT / page).exists()]
    return found + sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    """The page's blocks in a language, with the indent of a list taken away."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def commands(page: str) -> list[str]:
    """The page's shell commands, each on one line and without its comment."""
    lines = "\n".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    found = [" ".join(re.sub(r"(^|\s)#.*", "", line).split()) for line in lines]
    return [command for command in found if command]


def python_of(page: str) -> str:
    """The Python blocks of docs/{page}, joined."""
    return "\n".join(blocks(f"docs/{page}", "python"))


def run_python(code: str, folder: Path) -> str:
    """Run it in `folder` and return what it prints; an error shows all of it."""
    return _said([sys.executable, "-c", code], folder, {"PATH": ""})


def run_command(command: str, folder: Path) -> str:
    """Run a shell command in `folder`, with this Python's programs first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    cache = folder / "shared-cache"
    cache.mkdir(exist_ok=True)
    variables = {"PATH": path, "SNAKEMAKE_OUTPUT_CACHE": str(cache)}
    return _said(["bash", "-c", command], folder, variables)


def dry(command: str) -> str:
    """A command of Snakemake or make that only says what it would do."""
    program, *arguments = shlex.split(command)
    return shlex.join([program, "-n" if program == "make" else "--dry-run", *arguments])


def _said(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
    return done.stdout
