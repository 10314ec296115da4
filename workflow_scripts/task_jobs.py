"""The tasks of a job that runs a model: one, or all in turn (`jobs` in the configuration)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


class Named(dict):
    """Values by name, also as attributes."""

    __getattr__ = dict.__getitem__


class Files(list):
    """Paths in their order; those that have a name also as attributes."""


@dataclass(frozen=True)
class TaskJob:
    """One task's part of a job, with the fields of `snakemake` that a script reads."""

    rule: str
    threads: int
    wildcards: Named
    input: Files
    output: Files
    params: Named


def task_jobs(snakemake: Any) -> Iterator[TaskJob]:
    """Each of the job's tasks, as if it were its only one: the artifacts are the same either way.

    The job's params `cfg` and `code` are {task: value}; its files are named {name}_{task}, or
    just {name} if there is one task, or have no name if all tasks read them.
    """
    for task, cfg in snakemake.params.cfg.items():
        others = [other for other in snakemake.params.cfg if other != task]
        own = {"cfg": cfg, "code": snakemake.params.code[task]}
        yield TaskJob(
            snakemake.rule,
            snakemake.threads,
            Named(snakemake.wildcards.items(), task=task),
            _files(snakemake.input, task, others),
            _files(snakemake.output, task, others),
            Named(snakemake.params.items(), **own),
        )


def _files(files: Any, task: str, others: list[str]) -> Files:
    """The task's files by their names without the task, and those that have no name."""
    endings = tuple(f"_{other}" for other in others)
    own, foreign = {}, set()
    for name, paths in files.items():
        if name.endswith(endings):
            foreign.update([paths] if isinstance(paths, str) else paths)
        else:
            own[name.removesuffix(f"_{task}")] = paths
    for paths in own.values():  # such as photographs, which several tasks show
        foreign.difference_update([paths] if isinstance(paths, str) else paths)
    found = Files(path for path in files if path not in foreign)
    for name, paths in own.items():
        setattr(found, name, paths)
    return found
