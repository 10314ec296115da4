"""What the run was made with and what it cost, as Markdown: versions, models, time and memory."""

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hones_core.artifacts import provenance
from hones_core.job_records import job_records


def cost(benchmarks: Path) -> str:
    """Time and memory of each rule, from the files that Snakemake's `benchmark` wrote.

    They are of the last time that each job ran. An empty folder gives a sentence that says so.
    """
    rows = job_records(benchmarks)
    if not rows:
        return "No times were recorded."
    table = ["| rule | jobs | seconds | largest, seconds | memory, MiB |", "|" + " --- |" * 5]
    for rule, jobs in sorted(rows.items(), key=lambda item: -sum(job.seconds for job in item[1])):
        seconds = [job.seconds for job in jobs]
        memory = max(job.memory_mib or 0.0 for job in jobs)
        table.append(
            f"| {rule} | {len(jobs)} | {sum(seconds):.0f} | {max(seconds):.0f} | {memory:.0f} |"
        )
    return "\n".join(table)


def card_links(cards: Mapping[str, Mapping[str, tuple[int, int]]]) -> str:
    """A table of links to the pages of each group's first neuron, {model: {group: neuron}}."""
    groups = list(dict.fromkeys(group for own in cards.values() for group in own))
    table = [f"| group | {' | '.join(cards)} |", "|" + " --- |" * (1 + len(cards))]
    for group in groups:
        cells = [
            f"[{own[group][0]}/{own[group][1]}]"
            f"(neurons/{model}/{own[group][0]}-{own[group][1]}.html)"
            if group in own
            else "empty"
            for model, own in cards.items()
        ]
        table.append(f"| {group} | {' | '.join(cells)} |")
    said = (
        "The neuron (layer/index) that HONES ranks highest in each overlap group, on a page of its "
    )
    said += "own; others: `python -m hones_core.neuron_card`."
    return said + "\n\n" + "\n".join(table)


def origin(examples: Iterable[str | Path], settings: Mapping[str, Any]) -> str:
    """Versions and code of the artifacts at these paths, and the settings of the run."""
    versions: dict[str, str] = {}
    digests: dict[str, str] = {}
    for path in examples:
        made_by = provenance(path)
        versions |= made_by.get("versions", {})
        digests |= {name: str(digest) for name, digest in made_by.get("code", {}).items()}
    parts = [
        f"Machine of this page: {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}.",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())),
        "\n".join(f"- {name}: `{value}`" for name, value in settings.items()),
        f"Code, {len(digests)} modules by digest: "
        + ", ".join(f"{name} {digest}" for name, digest in sorted(digests.items())),
    ]
    return "\n\n".join(parts)
