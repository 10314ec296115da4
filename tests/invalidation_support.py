"""A complete project for the contract of docs/invalidation.yaml, and what a change would re-run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from dry_run_support import Plan, dry_run
from workflow_support import copy_project, pretend_complete

from hones_core.invalidation import Change, Contract, read_contract

CONTRACT = read_contract()
TARGETS = ("all", "ood_benchmark", "ood_steering", "head_screening", "rankers_full")


def complete_project(folder: Path) -> Path:
    """A project with one model that every ranker is compared on, as if all of it had been run."""
    project = copy_project(folder)
    values = configured(project)
    # Qwen: LLaVA has no bounds of the image size
    values["models"] = [{**values["models"][1], "rankers": None}]
    (project / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    pretend_complete(project, *TARGETS)
    return project


def configured(project: Path) -> dict[str, Any]:
    """The values of the project's config.yaml."""
    return yaml.safe_load((project / "config.yaml").read_text())


def overlay(project: Path, values: dict[str, Any]) -> Path:
    """A file that sets each {dotted name: value}."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *sections, last = name.split(".")
        place = nested
        if sections == ["models[]"]:
            (model,) = configured(project)["models"]
            sections, last, value = [], "models", [{**model, last: value}]
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
    path = project / "changed.yaml"
    path.write_text(yaml.safe_dump(nested))
    return path


def first_of(steps: frozenset[str], contract: Contract) -> frozenset[str]:
    """Those of the steps that follow none of the others."""
    later = [contract.after([step]) - {step} for step in steps if step in contract.reads]
    return steps - frozenset().union(*later)


def check(plan: Plan, change: Change) -> None:
    """Exactly the declared steps would run, and exactly the declared ones are what set them off."""
    assert plan.rules == CONTRACT.reruns(change)
    assert first_of(plan.set_off - change.new, CONTRACT) == change.starts


def module_files(project: Path) -> dict[str, Path]:
    """{module: its file}, named below hones_core: engine.fast, or engine for the package."""
    library = project / "hones_core"
    return {_module_name(path.relative_to(library)): path for path in library.rglob("*.py")}


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "hones_core"


def check_changed_modules(project: Path, names: Sequence[str], change: Change) -> None:
    """As `check`, of a plan with these modules changed; they are put back afterwards."""
    files = [module_files(project)[name] for name in names]
    texts = [file.read_text() for file in files]
    for file, text in zip(files, texts, strict=True):
        file.write_text(f"{text}\n_CHANGED = 1\n")
    try:
        check(planned(project), change)
    finally:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)


def planned(project: Path, *overlays: Path) -> Plan:
    return dry_run(project, TARGETS, *overlays)
