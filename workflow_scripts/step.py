"""What every script shares: the log, the error that a person reads, and the provenance."""

import os
import platform
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

QUIET = "HONES_QUIET"  # set: a step says nothing in the terminal; its log says it all the same


SNAKEMAKE = "HONES_SNAKEMAKE"  # in a step's environment: the `own_process` that started it
LOOK_S = 0.5  # how often a step looks whether that is still there


class _Messages:
    """Writes to the log, and to the terminal with the job's name before each line."""

    def __init__(self, job: str, log: TextIO, terminal: TextIO):
        self.job, self.log, self.terminal = job, log, terminal
        self.at_start = True

    def write(self, text: str) -> int:
        self.log.write(text)
        if not os.environ.get(QUIET):
            for line in text.splitlines(keepends=True):
                self.terminal.write(f"{self.job}: {line}" if self.at_start else line)
                self.at_start = line.endswith("\n")
        self.flush()
        return len(text)

    def flush(self) -> None:
        self.log.flush()
        self.terminal.flush()

    def isatty(self) -> bool:
        return False


@contextmanager
def step(snakemake: Any) -> Iterator[None]:
    """Run a script's body: messages also go to the rule's log, and so does a failure.

    The full traceback goes to the log; its last line says what is wrong. If Snakemake is killed,
    so is the step: it could put its results in the place of those of a later run.
    """
    terminal, done = sys.stderr, threading.Event()
    with open(snakemake.log[0], "w", encoding="utf-8") as log:  # noqa: PTH123
        job = " ".join([snakemake.rule, *snakemake.wildcards])
        sys.stderr = _Messages(job, log, terminal)
        threading.Thread(target=_end_with_snakemake, args=(log, done), daemon=True).start()
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=log)
            log.write(f"\n{snakemake.rule} stopped: {error}\n")
            raise SystemExit(1) from error
        finally:
            done.set()
            sys.stderr = terminal


def own_process() -> str:
    """This process: machine, process namespace (a container may have its own) and number."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        namespace = ""
    return f"{platform.node()} {namespace} {os.getpid()}"


def _end_with_snakemake(log: TextIO, done: threading.Event) -> None:
    parent = os.getppid()
    while not _has_ended(os.environ.get(SNAKEMAKE, "")) and os.getppid() == parent:
        if done.wait(LOOK_S):
            return
    log.write("\nstopped, because the Snakemake that started this has ended\n")
    log.flush()
    os._exit(1)


def _has_ended(process: str) -> bool:
    """Whether an `own_process` is gone; of one elsewhere nothing is known."""
    place, _, number = process.rpartition(" ")
    if place != own_process().rpartition(" ")[0]:
        return False
    try:
        os.kill(int(number), 0)  # sends nothing
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def provenance(snakemake: Any) -> dict[str, Any]:
    """What the artifact was made by: rule, wildcards, configuration, code and versions."""
    params = dict(snakemake.params.items())
    return {
        "rule": snakemake.rule,
        "wildcards": dict(snakemake.wildcards.items()),
        "config": params.get("cfg", {}),
        "code": params["code"],
        "versions": params["env"],
    }
