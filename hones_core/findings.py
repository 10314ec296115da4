"""What a check found: one row of the preflight, and the error that several of them make."""

from collections.abc import Iterable
from typing import NamedTuple

OK, WARNING, FAILED, SKIPPED = "ok", "warning", "failed", "skipped"


class Finding(NamedTuple):
    """One row: `check` of `model` ("" for all of them), its status, what was found, what to do."""

    check: str
    model: str
    status: str
    detail: str
    remedy: str = ""


def failures(findings: Iterable[Finding]) -> list[Finding]:
    """The checks that failed, in their order."""
    return [finding for finding in findings if finding.status == FAILED]


def in_words(findings: Iterable[Finding]) -> str:
    """What was found and what to do about it, on one line."""
    return "; ".join(
        f"{finding.check}: {finding.detail}" + (f". {finding.remedy}" if finding.remedy else "")
        for finding in findings
    )
