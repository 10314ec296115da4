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

The {steps} steps are those of a complete run of one model, with all targets
({targets})
and all that adds a step: `jobs: per_task`, shards, `heads.joint_tasks`, and a model on which one of
the rankers is not compared. A run without them has fewer steps, and for the others the page holds:

- without `heads.joint_tasks`, `measure_head_effects` does for all tasks what is said here of
  `measure_joint_head_effects`;
- on a model on which all rankers are compared (`rankers: null`), `predict_masked` is also what is
  said here of `predict_masked_full`;
- with `jobs: per_model`, a step has one job for all tasks of a model, so that a change which
  touches one task measures them all; with `jobs: per_task`, as here, the jobs of the others stay;
- the jobs of a model stay when a setting of another one changes, but for the figures of the
  tables, which show all models.
"""


@dataclass(frozen=True)
class Change:
    """An entry of the contract: what is changed, and what runs again.

    names: settings ("masking.top_ratio") or modules below hones_core ("engine.fast").
    values: of settings, {name: another valid value}. beside: settings that have to be set with it.
    starts: the steps that it sets off. without: steps after them that do not run, and those that a
    run has no longer.
    """

    names: tuple[str, ...]
    values: Mapping[str, Any]
    beside: Mapping[str, Any]
    starts: frozenset[str]
    without: frozenset[str]


@dataclass(frozen=True)
class Contract:
    """reads: {step: the steps whose output it reads} of a run with all targets. outside: {rule that
    is none of them: why}. And the changes of settings and modules."""

    targets: tuple[str, ...]
    outside: Mapping[str, str]
    reads: Mapping[str, frozenset[str]]
    settings: tuple[Change, ...]
    modules: tuple[Change, ...]

    def reruns(self, change: Change) -> frozenset[str]:
        """Every step that runs again."""
        return self.after(change.starts) - change.without

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
        tuple(stored["targets"]),
        stored["outside"],
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
        targets=", ".join(f"`{target}`" for target in contract.targets),
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
    rows += ["\n## Rules that no such run has\n", "| rule | why |", "|" + " --- |" * 2]
    rows += [f"| `{rule}` | {why} |" for rule, why in contract.outside.items()]
    return "\n".join(rows) + "\n"


def _change(entry: Mapping[str, Any], names: tuple[str, ...], values: Mapping[str, Any]) -> Change:
    parts = [frozenset(entry.get(key, ())) for key in ("starts", "without")]
    return Change(names, values, entry.get("with", {}), *parts)


def _table_head(*columns: str) -> str:
    names = [*columns, "starts at", "steps that run again"]
    return f"| {' | '.join(names)} |\n|" + " --- |" * len(names)


def _what(contract: Contract, change: Change) -> str:
    said = f"{_steps(change.starts)} | {len(contract.reruns(change))} of {len(contract.reads)}"
    if change.without:
        said += f"; not {_steps(change.without)}"
    return said


def _steps(steps: Iterable[str]) -> str:
    return ", ".join(f"`{step}`" for step in sorted(steps)) or "nothing"


def _short(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("...\n").strip()
