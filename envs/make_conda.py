"""Write envs/hones.yaml from the lock: the named packages, with the versions that were tested."""

import re
from pathlib import Path

ENVS = Path(__file__).parent


def conda_environment(named: str, lock: str) -> str:
    """The conda file's text from requirements.in and requirements.txt."""
    locked = dict(line.split("==") for line in lock.split())
    names = re.findall(r"^([A-Za-z0-9_.-]+)", named, flags=re.MULTILINE)
    by_name = {name.lower().replace("_", "-"): version for name, version in locked.items()}
    lines = ["# Made from requirements.in and requirements.txt by `make lock`; do not edit."]
    lines += ["name: hones", "channels: [conda-forge]", "dependencies:", "  - python=3.11"]
    lines += ["  - pip", "  - pip:"]
    lines += [f"      - {name}=={by_name[name.lower()]}" for name in names]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    texts = [(ENVS / f"requirements.{kind}").read_text(encoding="utf-8") for kind in ("in", "txt")]
    (ENVS / "hones.yaml").write_text(conda_environment(*texts), encoding="utf-8")
