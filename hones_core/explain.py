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

from hones_core.job_records import job_record, job_records
from hones_core.job_timer import record_file
from hones_core.task_catalogue import TASK_NAMES
from hones_core.tasks.ood_sets import OOD_SETS

_BLOCK = re.compile(r"\n(?=(?:local)?(?:rule|checkpoint) \w+:)")
_PARAMS = re.compile(r"before: (?P<old>.*) now: (?P<new>.*)", re.DOTALL)
NOTHING = "<nothing exclusive>"
NEW = "(nothing)"
SHARED_BY_A_JOB = (*TASK_NAMES, *OOD_SETS)  # a job's settings may be by task or set


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
        before, now = ([value for value in one if _kind(value) == kind] for one in (old, new))
        lines = dict.fromkeys(
            line
            for index in range(max(len(before), len(now)))
            for line in _differences(_at(before, index), _at(now, index), kind)
        )
        yield from (Cause(kind, line) for line in lines)


def _values(text: str) -> list[Any]:
    """The params of one side; one that is no Python literal stays as text."""
    if text == NOTHING:
        return []
    try:
        return list(ast.literal_eval(f"[{text}]"))
    except (ValueError, SyntaxError):
        return [text]


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else None


def _kind(value: Any) -> str:
    """Which of a rule's params it is: cfg, code or env."""
    leaves = dict(_leaves(value)) if isinstance(value, dict) else {}
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
        yield path, value


def _differences(old: Any, new: Any, kind: str) -> Iterator[str]:
    before, now = (dict(_leaves(value)) if value is not None else {} for value in (old, new))
    for path in dict.fromkeys([*before, *now]):
        if before.get(path, NEW) == now.get(path, NEW):
            continue
        if kind == CODE:
            yield path[-1]
        else:
            own = path[1:] if path[:1] and path[0] in SHARED_BY_A_JOB else path
            yield f"{'.'.join(own) or 'value'}: {before.get(path, NEW)} → {now.get(path, NEW)}"


def explanation(jobs: Sequence[Job], folder: Path) -> str:
    """The dry run in plain words; times are read below `folder`, where the results lie."""
    if not jobs:
        return "Nothing would run again: every result is of these settings and this code."
    known, unknown = _cost(jobs, folder)
    lines = [f"{len(jobs)} jobs would run, {_duration(known)} of work by the times of the last run"]
    lines[0] += f" ({unknown} jobs have none recorded)." if unknown else "."
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
    stays = _recorded(folder, {job.rule for job in jobs})
    if stays:
        seconds = sum(sum(times) for times in stays.values())
        lines += ["", f"What stays, {_duration(seconds)} of work: {', '.join(sorted(stays))}."]
    return "\n".join(lines)


def _cost(jobs: Sequence[Job], folder: Path) -> tuple[float, int]:
    """Seconds that the jobs took when they last ran, and how many have no record."""
    found = [job_record(folder / job.record) if job.record else None for job in jobs]
    return sum(record.seconds for record in found if record is not None), found.count(None)


def _recorded(folder: Path, without: set[str]) -> dict[str, list[float]]:
    """{rule: seconds of its jobs} of the rules that would not run."""
    found: dict[str, list[float]] = {}
    for benchmarks in sorted(folder.glob("results/*/benchmarks")):
        for rule, records in job_records(benchmarks).items():
            if rule not in without:
                found.setdefault(rule, []).extend(record.seconds for record in records)
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
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    if done.returncode:
        print(said, file=sys.stderr)
        return done.returncode
    print(explanation(jobs_of(said), Path.cwd()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
