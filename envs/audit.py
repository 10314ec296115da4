"""Known vulnerabilities of the locked packages: `make audit`, in an environment that has pip-audit.

Says loudly what was not audited: pip-audit itself ends well where its database does not answer.
"""

import json
import subprocess
import sys
from pathlib import Path

LOCK = Path(__file__).parent / "requirements.txt"
CLEAN, VULNERABLE, NOT_AUDITED = 0, 1, 2
SHOWN = 5  # names in a message
LONGEST_S = 60  # for a database that neither answers nor refuses


def report(lock: Path) -> dict | None:
    """What pip-audit says about the packages of the lock; None if it says nothing."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--format", "json"]
    command += ["--no-deps", "--disable-pip", "--progress-spinner", "off"]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=False, timeout=LONGEST_S
        )
        return json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return None


def verdict(found: dict | None) -> tuple[int, str]:
    """The exit status, and what was found, in words."""
    if found is None:
        return NOT_AUDITED, "NOT AUDITED: pip-audit does not run here, or reaches no database"
    packages = found["dependencies"]
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    vulnerable = [package for package in packages if package.get("vulns")]
    lines = [f"{len(packages) - len(skipped)} of {len(packages)} packages were audited"]
    for package in vulnerable:
        for one in package["vulns"]:
            mended = ", ".join(one["fix_versions"]) or "none yet"
            name = f"{package['name']} {package['version']}"
            lines.append(f"VULNERABLE: {name}: {one['id']}; mended in: {mended}")
    if skipped:
        names = ", ".join(skipped[:SHOWN]) + (" ..." if len(skipped) > SHOWN else "")
        lines.append(
            f"NOT AUDITED: {len(skipped)} packages that the database does not know: {names}"
        )
    status = VULNERABLE if vulnerable else NOT_AUDITED if skipped else CLEAN
    return status, "\n".join(lines)


def boxed(text: str) -> str:
    """The text in a box that nobody overlooks."""
    return "\n".join(["#" * 80, *(f"# {line}" for line in text.splitlines()), "#" * 80])


def main() -> int:
    """Print the verdict; returns the exit status."""
    status, text = verdict(report(LOCK))
    print(boxed(text) if status == NOT_AUDITED else text)
    return status


if __name__ == "__main__":
    sys.exit(main())
