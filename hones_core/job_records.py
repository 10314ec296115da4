"""What jobs took when they last ran, from the files that Snakemake's `benchmark` writes."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class JobRecord:
    """Wall-clock seconds and largest memory in MiB; None where it was not measured."""

    seconds: float
    memory_mib: float | None


def job_record(path: Path) -> JobRecord | None:
    """The record of one job's file; None if there is no file or it is empty."""
    if not path.is_file():
        return None
    with path.open(encoding="utf-8") as lines:
        row = next(csv.DictReader(lines, delimiter="\t"), None)
    if not row or not row.get("s"):
        return None
    memory = row.get("max_rss", "-")  # a job too short to be looked at has none
    return JobRecord(float(row["s"]), None if memory in ("-", "", "NA") else float(memory))


def job_records(benchmarks: Path) -> dict[str, list[JobRecord]]:
    """{rule: the records of its jobs} of a run's folder of such files."""
    found: dict[str, list[JobRecord]] = {}
    for path in sorted(benchmarks.rglob("*.tsv")):
        rule = path.relative_to(benchmarks).parts[0].removesuffix(".tsv")
        record = job_record(path)
        if record is not None:
            found.setdefault(rule, []).append(record)
    return found
