"""Dry runs inside this process: what Snakemake would do in a project, and what set it off."""

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import yaml
from snakemake.api import SnakemakeApi
from snakemake.parser import parse
from snakemake.settings.enums import Quietness, RerunTrigger
from snakemake.settings.types import ConfigSettings, DAGSettings, OutputSettings, ResourceSettings

parsed: dict[tuple[str, str, int], tuple[str, int, dict[int, int]]] = {}


@dataclass(frozen=True)
class Plan:
    """What would run. rules: their names. jobs: "rule", or "rule/task" where the rule has a task.
    of_model: {model: those of the jobs that are of one model}.
    set_off: those of the rules that run for a reason of their own, and not only because an earlier
    step runs. follows: of every rule, also those that would not run, the rules whose output it
    reads. params: of every job that is not a target, by its rule and wildcards."""

    rules: frozenset[str]
    jobs: frozenset[str]
    of_model: dict[str, frozenset[str]]
    set_off: frozenset[str]
    follows: dict[str, frozenset[str]]
    params: dict[str, dict[str, Any]]


def dry_run(project: Path, targets: tuple[str, ...], *overlays: Path) -> Plan:
    """What `snakemake --dry-run` would do there, by the triggers of profiles/default."""
    profile = yaml.safe_load((project / "profiles" / "default" / "config.yaml").read_text())
    names = {name.upper().replace("-", "_") for name in profile["rerun-triggers"]}
    once = mock.patch("snakemake.workflow.parse", _parse_once)
    with once, _in(project), SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=list(overlays)),
            snakefile=project / "Snakefile",
        )
        dag = workflow.dag(
            dag_settings=DAGSettings(
                targets=set(targets),
                rerun_triggers={RerunTrigger[name] for name in names},
                max_checksum_file_size=profile["max-checksum-file-size"],
            )
        )
        with contextlib.redirect_stdout(io.StringIO()):
            dag.printrulegraph()  # decides about every job, and costs less than listing them
        plan = _plan(workflow._workflow.dag, set(targets))
    # Snakemake keeps what it has read. Frozen, it does not slow down the tests that follow.
    gc.collect()
    gc.freeze()
    return plan


def _parse_once(
    path: Any, workflow: Any, linemap: dict[int, int], rulecount: int = 0
) -> tuple[str, int]:
    """Snakemake's `parse`, a fifth of a plan's time, once for each content of a file."""
    name = path.get_path_or_uri(secret_free=True)
    key = (name, Path(name).read_text(encoding="utf-8"), rulecount)
    if key not in parsed:
        lines: dict[int, int] = {}
        parsed[key] = (*parse(path, workflow, lines, rulecount=rulecount), lines)
    code, count, lines = parsed[key]
    linemap.update(lines)
    return code, count


def _plan(dag: Any, targets: set[str]) -> Plan:
    jobs = [job for job in dag.jobs if job.rule.name not in targets]
    needed = [job for job in dag.needrun_jobs() if job.rule.name not in targets]
    of_model: dict[str, set[str]] = {}
    for job in needed:
        if model := job.wildcards_dict.get("model"):
            of_model.setdefault(model, set()).add(_name_of(job))
    follows: dict[str, set[str]] = {}
    for job in jobs:
        before = {other.rule.name for other in dag.job_dependencies(job)}
        follows.setdefault(job.rule.name, set()).update(before - {job.rule.name})
    return Plan(
        frozenset(job.rule.name for job in needed),
        frozenset(_name_of(job) for job in needed),
        {model: frozenset(names) for model, names in of_model.items()},
        frozenset(job.rule.name for job in needed if _own_reason(dag.reason(job))),
        {rule: frozenset(before) for rule, before in follows.items()},
        {
            "/".join([job.rule.name, *job.wildcards_dict.values()]): dict(job.params.items())
            for job in jobs
        },
    )


def _name_of(job: Any) -> str:
    task = job.wildcards_dict.get("task")
    return f"{job.rule.name}/{task}" if task else job.rule.name


def _own_reason(reason: Any) -> bool:
    return bool(
        reason.params_changed
        or reason.input_changed
        or reason.software_stack_changed
        or reason.missing_output
        or reason.updated_input
    )


@contextlib.contextmanager
def _in(project: Path) -> Iterator[None]:
    """In the project's folder; what the workflow sets for its scripts is set back afterwards."""
    folder, path, environment = Path.cwd(), list(sys.path), dict(os.environ)
    os.chdir(project)
    try:
        yield
    finally:
        os.chdir(folder)
        sys.path[:] = path
        os.environ.clear()
        os.environ.update(environment)
