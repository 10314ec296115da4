"""What every script shares: the log, the error that a person reads, and the provenance."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class _Both:
    """Writes to the terminal and to the log file."""

    def __init__(self, *streams: TextIO):
        self.streams = streams

    def write(self, text: str) -> int:
        for stream in self.streams:
            stream.write(text)
            stream.flush()
        return len(text)

    def flush(self) -> None:
        for stream in self.streams:
            stream.flush()

    def isatty(self) -> bool:
        return False


@contextmanager
def step(snakemake: Any) -> Iterator[None]:
    """Run a script's body: messages also go to the rule's log, and so does a failure.

    The full traceback goes to the log; its last line says what is wrong.
    """
    terminal = sys.stderr
    with open(snakemake.log[0], "w", encoding="utf-8") as log:  # noqa: PTH123
        sys.stderr = _Both(terminal, log)
        try:
            yield
        except Exception as error:
            traceback.print_exc(file=log)
            log.write(f"\n{snakemake.rule} stopped: {error}\n")
            raise SystemExit(1) from error
        finally:
            sys.stderr = terminal


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
