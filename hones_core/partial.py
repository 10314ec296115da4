"""What a long job has finished so far, kept beside its result, so that a killed job resumes inside.

A part is a table under a name. It lies in a folder of its job's fingerprint and begins with a
digest of its key and content: a part of another job, of other instances or with a damaged byte is
never given back.
"""

import copy
import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hones_core.atomic import written_atomically

LARGEST_READ = 100_000_000  # bytes; larger inputs are known by size and time of change
_DIGEST = 32  # bytes at the beginning of a part
QUICK = 3.0  # seconds; after a save that took longer the next one waits in proportion


class Parts:
    """The finished parts of one job in `folder`; without a folder nothing is kept.

    `key` is any JSON-serialisable value: everything but the instances on which the parts depend
    (configuration, code, versions, inputs). Parts under another key stay where they are, unused,
    until `remove`. `every_seconds`: sums that grow are kept that often, if that is quick.
    """

    def __init__(
        self, folder: str | Path | None = None, key: Any = None, every_seconds: float = 60.0
    ):
        self.every_seconds = every_seconds
        self.folder = None if folder is None else Path(folder)
        self.key = fingerprint(key)
        self.prefix = ""
        if self.folder is None or not self.folder.is_dir():
            return
        if any(path.name != self.key for path in self.folder.iterdir()):
            _say(f"{self.folder} holds parts of other settings, code or inputs, which are not used")

    def within(self, name: str) -> "Parts":
        """The same place for one of several things that the job makes: its parts have own names."""
        own = copy.copy(self)
        own.prefix = f"{self.prefix}{name}."
        return own

    def load(self, name: str, key: Any) -> pa.Table | None:
        """The part `name` as saved under `key` (JSON-serialisable); None if there is none.

        A part that is damaged or was saved under another key counts as none, and a line says so.
        """
        if self.folder is None:
            return None
        try:
            stored = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        digest, content = stored[:_DIGEST], memoryview(stored)[_DIGEST:]
        if digest != _digest(self.key, name, key, content):
            _say(f"{self._path(name)} is damaged or not of these instances; it is made again")
            return None
        return pq.read_table(pa.BufferReader(content))

    def save(self, name: str, key: Any, table: pa.Table) -> None:
        """Keep a part under a name, in place of what has that name."""
        if self.folder is None:
            return
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd")
        content = memoryview(sink.getvalue())
        with written_atomically(self._path(name)) as temporary, temporary.open("wb") as file:
            file.write(_digest(self.key, name, key, content))
            file.write(content)

    def wait_after(self, took: float) -> float:
        """Seconds until the next save after one that took so many.

        With 60 s between saves no more than a twentieth of the time goes into them.
        """
        return self.every_seconds * max(1.0, took / QUICK)

    def drop(self, name: str) -> None:
        """Remove one part, if it is there."""
        if self.folder is not None:
            self._path(name).unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove all parts, of other keys too: the job's result is written."""
        if self.folder is not None and self.folder.is_dir():
            shutil.rmtree(self.folder)

    def _path(self, name: str) -> Path:
        assert self.folder is not None  # which all callers have asked
        return self.folder / self.key / f"{self.prefix}{name}.part"


def fingerprint(value: Any) -> str:
    """A short digest of a JSON-serialisable value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def input_state(path: str | Path) -> str:
    """A digest of a file's content, or of its size and time of change if it is large.

    For a folder, one of its files' names, sizes and times of change: reading tens of thousands of
    images would cost more than it is worth. Raises FileNotFoundError if there is nothing.
    """
    path = Path(path)
    if path.is_dir():
        return fingerprint(sorted(_listing(path)))
    stat = path.stat()
    if stat.st_size > LARGEST_READ:
        return fingerprint([stat.st_size, stat.st_mtime_ns])
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for place, _, names in os.walk(folder):
        for name in names:
            stat = (Path(place) / name).stat()
            found.append((str(Path(place, name)), stat.st_size, stat.st_mtime_ns))
    return found


def _digest(job: str, name: str, key: Any, content: memoryview) -> bytes:
    digest = hashlib.sha256(f"{job} {name} {fingerprint(key)}\n".encode())
    digest.update(content)  # which may be a gigabyte: no copy of it
    return digest.digest()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
