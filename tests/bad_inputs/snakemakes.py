"""Several runs of Snakemake: `python snakemakes.py`, requests on stdin, answers on stdout.

Importing Snakemake takes longer than a dry run that stops at the configuration. So it is imported
once, and each request is a fork of that process, with arguments, output and exit status of its own.
"""

import importlib
import json
import os
import sys
import tempfile
import traceback
from importlib import metadata
from pathlib import Path

import snakemake.cli

# What every run imports, so that no fork has to.
for name in ("pydantic", "smart_open", "yaml", "yte"):
    importlib.import_module(name)

AT_ONCE = 2


def answers(requests: list[dict]) -> list[dict]:
    """{"status", "said"} of `snakemake` with each request's "arguments" in its "folder"."""
    snakemake.cli.get_argument_parser()  # finds the plugins
    statuses: dict[int, int] = {}
    running: dict[int, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        for index, request in enumerate(requests):
            if len(running) == AT_ONCE:
                _wait(running, statuses)
            child = os.fork()
            if not child:
                _become(request, f"{folder}/{index}")
            running[child] = index
        while running:
            _wait(running, statuses)
        said = [Path(folder, str(index)).read_bytes() for index in range(len(requests))]
    return [
        {"status": statuses[index], "said": text.decode(errors="replace")}
        for index, text in enumerate(said)
    ]


def _wait(running: dict[int, int], statuses: dict[int, int]) -> None:
    child, status = os.wait()
    statuses[running.pop(child)] = os.waitstatus_to_exitcode(status)


def _become(request: dict, output: str) -> None:
    """Be the command, saying all into a file; never returns."""
    handle = os.open(output, os.O_WRONLY | os.O_CREAT)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.chdir(request["folder"])
    _hide(request["without"])
    status: object = 1
    try:
        snakemake.cli.main(request["arguments"])
        status = 0
    except SystemExit as leave:
        status = leave.code
    except BaseException:  # as the interpreter shows it
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))


def _hide(packages: list[str]) -> None:
    """As if the packages were not installed."""
    found = metadata.Distribution.from_name

    def from_name(name: str):
        if name in packages:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    metadata.Distribution.from_name = from_name
    for package in packages:
        sys.modules[package] = None  # `import` then raises ModuleNotFoundError


if __name__ == "__main__":
    json.dump(answers(json.load(sys.stdin)), sys.stdout)
