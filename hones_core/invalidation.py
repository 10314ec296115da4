"""The declared contract of what runs again when a setting or a module changes.

It is written down in docs/invalidation.yaml. docs/invalidation.md is made of it, and a test asks
Snakemake about every entry.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONTRACT = Path(__file__).resolve().parent.parent / "docs" / "invalidation.yaml"

_HEAD = """# What runs again

Generated from `docs/invalidation.yaml` by `make docs`; do not edit. A test changes every one of
the {settings} settings and {modules} modules named here in a project that is complete, and
compares what Snakemake would do with this page. A setting or a module that is not on the page
fails the test.

A change sets off the steps under *starts at*, and all that follows them runs again. Taken back
before anything was run, it re-runs nothing. Nor do comments, docstrings and the format of the code.
What would run in your folder, and why, is said by `python -m hones_core.explain`.

The {steps} steps are those of a complete run of one model with every ranker, the targets outside
the default one included (`ood_benchmark`, `ood_steering`, `head_screening`, `rankers_full`). With
`jobs: per_model`, as here, a step has one job for all tasks of a model; with `jobs: per_task` the
jobs of an unconcerned task stay as they are.
"""


@dataclass(frozen=True)
class Change:
    """An entry of the contract: what is changed, and what runs again.

    names: settings ("masking.top_ratio") or modules below hones_core ("engine.fast").
    values: of settings, {name: another valid value}. beside: settings that have to be set with it.
    starts: the steps that it sets off. without: steps after them that do not run. new: steps that a
    run has only with it.
    """

    names: tuple[str, ...]
    values: Mapping[str, Any]
    beside: Mapping[str, Any]
    starts: frozenset[str]
    without: frozenset[str]
    new: frozenset[str]


@dataclass(frozen=True)
class Contract:
    """reads: {step: the steps whose output it reads}; and the changes of settings and modules."""

    reads: Mapping[str, frozenset[str]]
    settings: tuple[Change, ...]
    modules: tuple[Change, ...]

    def reruns(self, change: Change) -> frozenset[str]:
        """Every step that runs again."""
        return (self.after(change.starts) - change.without) | change.new

    def after(self, starts: Iterable[str]) -> frozenset[str]:
        """The steps and all that follow them. Raises KeyError for an unknown step."""
        found = set(starts)
        if unknown := found - set(self.reads):
            raise KeyError(f"no step is called {', '.join(sorted(unknown))}")
        while more := {step for step, read in self.reads.items() if read & found} - found:
            found |= more
        return frozenset(found)


def read_contract(path: Path = CONTRACT) -> Contract:
    """The contract in the file."""
    stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    return Contract(
        {step: frozenset(read) for step, read in stored["reads"].items()},
        tuple(_change(entry, tuple(entry["to"]), entry["to"]) for entry in stored["settings"]),
        tuple(_change(entry, tuple(entry["modules"]), {}) for entry in stored["modules"]),
    )


def contract_page(contract: Contract) -> str:
    """docs/invalidation.md."""
    head = _HEAD.format(
        settings=sum(len(change.names) for change in contract.settings),
        modules=sum(len(change.names) for change in contract.modules),
        steps=len(contract.reads),
    )
    rows = [head, "## Settings\n", _table_head("setting", "for instance")]
    for change in contract.settings:
        what = _what(contract, change)
        rows += [
            f"| `{name}` | `{_short(change.values[name])}` | {what} |" for name in change.names
        ]
    rows += ["\n## Modules of `hones_core`\n", _table_head("modules")]
    rows += [
        f"| {', '.join(f'`{name}`' for name in change.names)} | {_what(contract, change)} |"
        for change in contract.modules
    ]
    rows += ["\n## What follows each step\n", "| step | reads | followed by |", "|" + " --- |" * 3]
    for step, read in contract.reads.items():
        after = contract.after([step]) - {step}
        rows.append(f"| `{step}` | {_steps(read)} | {_steps(after)} |")
    return "\n".join(rows) + "\n"


def _change(entry: Mapping[str, Any], names: tuple[str, ...], values: Mapping[str, Any]) -> Change:
    parts = [frozenset(entry.get(key, ())) for key in ("starts", "without", "new")]
    return Change(names, values, entry.get("with", {}), *parts)


def _table_head(*columns: str) -> str:
    names = [*columns, "starts at", "steps that run again"]
    return f"| {' | '.join(names)} |\n|" + " --- |" * len(names)


def _what(contract: Contract, change: Change) -> str:
    said = f"{_steps(change.starts)} | {len(contract.reruns(change))} of {len(contract.reads)}"
    if change.without:
        said += f"; not {_steps(change.without)}"
    if change.new:
        said += f"; {_steps(change.new)} besides"
    return said


def _steps(steps: Iterable[str]) -> str:
    return ", ".join(f"`{step}`" for step in sorted(steps)) or "nothing"


def _short(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
