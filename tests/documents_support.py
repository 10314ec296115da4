"""Running the Python of a document, block after block in one namespace, as a reader would."""

import re
import subprocess
import sys
from pathlib import Path

from workflow_support import ROOT


def python_of(page: str) -> str:
    """The Python blocks of docs/{page}, joined."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))


def run_python(code: str, folder: Path) -> str:
    """Run it in `folder` and return what it prints; an error shows all of it."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
