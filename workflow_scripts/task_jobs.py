"""What a job that runs a model works on: one task, or all in turn (`jobs` in the configuration)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any


class Named(dict):
    """Values by name, also as attributes."""

    __getattr__ = dict.__getitem__


class Files(list):
    """Paths in their order; those that have a name also as attributes."""


@dataclass(frozen=True)
class TaskJob:
    """One task's part of a job, with the fields of `snakemake` that a script reads.

    `at_end` is done when all tasks of the job are: if one fails, Snakemake removes what the others
    have written, and what they keep for a new start must still be there.
    """

    rule: str
    threads: int
    wildcards: Named
    input: Files
    output: Files
    params: Named
    at_end: list[Callable[[], None]] = field(default_factory=list)


def task_jobs(snakemake: Any) -> Iterator[TaskJob]:
    """Each of the job's tasks, as if it were its only one: artifacts are the same either way."""
    return jobs_of(snakemake, "task")


def jobs_of(snakemake: Any, wildcard: str) -> Iterator[TaskJob]:
    """Each value of the wildcard that the job takes in turn, as if it were its only one.

    The params are `cfg`, {value: ...}, and `code`, {"shared" or value: digests}; the files are
    named {name}_{value}, or just {name} if there is one value, or have no name if all read them.
    """
    at_end: list[Callable[[], None]] = []
    for value, cfg in snakemake.params.cfg.items():
        others = [other for other in snakemake.params.cfg if other != value]
        code = snakemake.params.code
        own = {"cfg": cfg, "code": {**code["shared"], **code[value]}}
        yield TaskJob(
            snakemake.rule,
            snakemake.threads,
            Named(snakemake.wildcards.items(), **{wildcard: value}),
            _files(snakemake.input, value, others),
            _files(snakemake.output, value, others),
            Named(snakemake.params.items(), **own),
            at_end,
        )
    for finish in at_end:
        finish()


def _files(files: Any, value: str, others: list[str]) -> Files:
    """The value's files by their names without it, and those that have no name."""
    endings = tuple(f"_{other}" for other in others)
    own, foreign = {}, set()
    for name, paths in files.items():
        if name.endswith(endings):
            foreign.update([paths] if isinstance(paths, str) else paths)
        else:
            own[name.removesuffix(f"_{value}")] = paths
    for paths in own.values():  # such as photographs, which several tasks show
        foreign.difference_update([paths] if isinstance(paths, str) else paths)
    found = Files(path for path in files if path not in foreign)
    for name, paths in own.items():
        setattr(found, name, paths)
    return found
