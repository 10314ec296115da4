"""What a run would do again, and why: `python -m hones_core.explain [options of snakemake]`.

Asks Snakemake for a dry run and puts its reasons into plain words: which setting changed from what
to what, which module's meaning changed, which file is missing; what follows from that; how long it
will take by the times of the last run; and what stays. Runs nothing.
"""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hones_core.job_records import job_record
from hones_core.job_timer import record_file
from hones_core.task_catalogue import TASK_NAMES
from hones_core.tasks.ood_sets import OOD_SETS

_BLOCK = re.compile(r"\n(?=(?:local)?(?:rule|checkpoint) \w+:)")
_PARAMS = re.compile(r"before: (?P<old>.*) now: (?P<new>.*)", re.DOTALL)
NOTHING = "<nothing exclusive>"
NEW = "(nothing)"
SHARED_BY_A_JOB = (*TASK_NAMES, *OOD_SETS)  # a job's settings may be by task or set
SCALAR = "shards"  # the one param that is no mapping; Snakemake names none


@dataclass(frozen=True)
class Job:
    """One job of a dry run: its rule, Snakemake's reason, and where its time is recorded."""

    rule: str
    reason: str
    record: str


@dataclass(frozen=True)
class Cause:
    """Why a job runs again: the kind of the cause, and what exactly."""

    kind: str
    what: str


SETTING = "a setting changed"
CODE = "code changed"
VERSION = "a package's version changed"
MISSING = "a file is not there"
FOLLOWS = "what they read is made again"
INPUT = "an input file changed"
OTHER = "for another reason"
ORDER = (SETTING, CODE, VERSION, INPUT, MISSING, FOLLOWS, OTHER)


def jobs_of(dry_run: str) -> list[Job]:
    """The jobs that the text of `snakemake --dry-run` lists, without the target itself."""
    found = []
    for block in _BLOCK.split(dry_run.split("Job stats:", 1)[-1]):
        rule = re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", block)
        if not rule or rule[1] == "all":
            continue
        reason = re.search(r"^    reason: (.*)$", block, re.MULTILINE)
        log = re.search(r"^    log: (.*)$", block, re.MULTILINE)
        record = str(record_file(log[1])) if log else ""
        found.append(Job(rule[1], reason[1] if reason else "", record))
    return found


def causes(job: Job) -> list[Cause]:
    """The causes that Snakemake's reason names, the first ones in the order of `ORDER`."""
    found: list[Cause] = []
    for reason in job.reason.split("; "):
        if reason.startswith("Params have changed"):
            found += _changed_params(reason)
        elif reason.startswith("Missing output files: "):
            found.append(Cause(MISSING, reason.removeprefix("Missing output files: ")))
        elif reason.startswith("Input files updated by another job"):
            found.append(Cause(FOLLOWS, ""))
        elif reason.startswith("Updated input files: "):
            found.append(Cause(INPUT, reason.removeprefix("Updated input files: ")))
        elif reason:
            found.append(Cause(OTHER, reason[:200]))
    return sorted(found, key=lambda cause: ORDER.index(cause.kind)) or [Cause(OTHER, "")]


def _changed_params(reason: str) -> Iterator[Cause]:
    """What differs between the params of then and now, value by value."""
    match = _PARAMS.search(reason)
    if not match:
        yield Cause(OTHER, reason[:200])
        return
    old, new = (_values(match[name].strip()) for name in ("old", "new"))
    for kind in (SETTING, CODE, VERSION):
        # of one rule, in any order: together they have each name once
        before, now = (
            {path: leaf for value in one if _kind(value) == kind for path, leaf in _leaves(value)}
            for one in (old, new)
        )
        yield from (Cause(kind, line) for line in dict.fromkeys(_differences(before, now, kind)))


def _values(text: str) -> list[Any]:
    """The params of one side; one that is no Python literal stays as text."""
    if text == NOTHING:
        return []
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (ValueError, SyntaxError):
        return [text]


def _kind(value: Any) -> str:
    """Which of a rule's params it is: code, env, or of the settings."""
    leaves = dict(_leaves(value))
    if any(path[-1].endswith(".py") for path in leaves):
        return CODE
    if leaves and all(
        len(path) == 1 and isinstance(leaf, str) and re.fullmatch(r"\d+(\.\w+)+(\+\w+)?", leaf)
        for path, leaf in leaves.items()
    ):
        return VERSION
    return SETTING


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*path, str(name)))
    else:
        yield path or (SCALAR if isinstance(value, int) else "value",), value


def _differences(
    before: dict[tuple[str, ...], Any], now: dict[tuple[str, ...], Any], kind: str
) -> Iterator[str]:
    for path in dict.fromkeys([*before, *now]):
        if before.get(path, NEW) == now.get(path, NEW):
            continue
        if kind == CODE:
            yield path[-1]
        else:
            own = path[1:] if path[:1] and path[0] in SHARED_BY_A_JOB else path
            yield f"{'.'.join(own)}: {before.get(path, NEW)} → {now.get(path, NEW)}"


def explanation(jobs: Sequence[Job], every: Sequence[Job], folder: Path) -> str:
    """The dry run in plain words: of the jobs that would run and of every job of the targets; times
    are read below `folder`, where the results lie."""
    if not jobs:
        return "Nothing would run again: every result is of these settings and this code."
    times = [seconds for of_rule in _recorded(jobs, folder).values() for seconds in of_rule]
    unknown = len(jobs) - len(times)
    took = f"{_duration(sum(times))} of work by the times of the last run"
    missing = f" ({unknown} jobs have none recorded)" if unknown else ""
    lines = [f"{len(jobs)} jobs would run, {took}{missing}."]
    first = [(causes(job), job.rule) for job in jobs]
    for kind in ORDER:
        rules: dict[str, Counter] = {}
        for found, rule in first:
            if found[0].kind != kind:
                continue
            for cause in found:
                if cause.kind == kind:
                    rules.setdefault(cause.what, Counter())[rule] += 1
        if rules:
            lines += ["", f"Because {kind}:" if kind != OTHER else "For other reasons:"]
        for what, counted in rules.items():
            named = ", ".join(f"{rule} ({count})" for rule, count in counted.items())
            lines.append(f"  {what}\n    {named}" if what else f"  {named}")
    again = {(job.rule, job.record) for job in jobs}
    stays = _recorded([job for job in every if (job.rule, job.record) not in again], folder)
    if stays:
        seconds = sum(sum(times) for times in stays.values())
        named = ", ".join(f"{rule} ({len(times)})" for rule, times in sorted(stays.items()))
        lines += ["", f"What stays, {_duration(seconds)} of work: {named}."]
    return "\n".join(lines)


def _recorded(jobs: Sequence[Job], folder: Path) -> dict[str, list[float]]:
    """{rule: seconds of those of its jobs that have a record}."""
    found: dict[str, list[float]] = {}
    for job in jobs:
        record = job_record(folder / job.record) if job.record else None
        if record is not None:
            found.setdefault(job.rule, []).append(record.seconds)
    return found


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: Snakemake's exit status, whose own words are shown if it fails."""
    options = list(sys.argv[1:] if arguments is None else arguments)
    if {"-h", "--help"} & set(options):
        print(__doc__)
        return 0
    try:
        jobs = _asked(options)
        every = _asked(["--forceall", *options]) if jobs else []
    except subprocess.CalledProcessError as error:
        print(error.stdout + error.stderr, file=sys.stderr)
        return error.returncode
    print(explanation(jobs, every, Path.cwd()))
    return 0


def _asked(options: Sequence[str]) -> list[Job]:
    """The jobs of a dry run with these options. CalledProcessError if Snakemake refuses."""
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return jobs_of(done.stdout + done.stderr)


if __name__ == "__main__":
    sys.exit(main())
