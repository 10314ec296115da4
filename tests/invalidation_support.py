"""A complete project for the contract of docs/invalidation.yaml, and what a change would re-run."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from dry_run_support import Plan, dry_run
from workflow_support import copy_project, pretend_complete

from hones_core.invalidation import Change, Contract, read_contract

CONTRACT = read_contract()


def complete_project(folder: Path) -> Path:
    """A project with every step, as if all of it had been run: one model on which one of the
    rankers is not compared, a job for each task and shard, joint tasks."""
    project = copy_project(folder)
    values = configured(project)
    every = values["neurons"]["rankers"]
    # without APE every measurement is still asked for, and the full lists have a step of their own
    rankers = [name for name in every if name != "ape"]
    # Qwen: LLaVA has no bounds of the image size
    values["models"] = [{**values["models"][1], "rankers": rankers}]
    values["jobs"] = "per_task"
    values["heads"]["joint_tasks"] = ["vqa", "caption"]
    for part in ("heads", "neurons", "masking"):
        values[part]["shards"] = 2
    _complete(project, values)
    return project


def per_model_project(folder: Path) -> Path:
    """As `complete_project`, with one job for all tasks of a model, as in the default."""
    project = copy_project(folder)
    values = configured(project)
    values["models"] = [{**values["models"][1], "rankers": None}]
    assert values["jobs"] == "per_model"
    _complete(project, values)
    return project


def _complete(project: Path, values: dict[str, Any]) -> None:
    (project / "config.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
    pretend_complete(project, *CONTRACT.targets)


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
    """Exactly the declared steps would run, exactly the declared ones are what set them off, and
    those that leave the plan are declared, too."""
    assert plan.rules == CONTRACT.reruns(change)
    assert first_of(plan.set_off, CONTRACT) == change.starts
    gone = CONTRACT.reads.keys() - plan.follows.keys()
    assert gone <= change.without
    assert change.without - CONTRACT.after(change.starts) <= gone


def module_files(project: Path) -> dict[str, Path]:
    """{module: its file}, named below hones_core: engine.fast, or engine for the package."""
    library = project / "hones_core"
    return {_module_name(path.relative_to(library)): path for path in library.rglob("*.py")}


def _module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts) or "hones_core"


def check_changed_modules(project: Path, names: Sequence[str], change: Change) -> None:
    """As `check`, of a plan with these modules changed."""
    with changed_modules(project, names):
        check(planned(project), change)


@contextlib.contextmanager
def changed_modules(project: Path, names: Sequence[str]) -> Iterator[None]:
    """These modules do something else, until they are put back."""
    files = [module_files(project)[name] for name in names]
    texts = [file.read_text() for file in files]
    for file, text in zip(files, texts, strict=True):
        file.write_text(f"{text}\n_CHANGED = 1\n")
    try:
        yield
    finally:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text)


def planned(project: Path, *overlays: Path) -> Plan:
    return dry_run(project, CONTRACT.targets, *overlays)
