"""Files that are whole or not there: written under a temporary name, then renamed."""

import glob
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


def unusable_folder(path: str | Path) -> str | None:
    """What keeps `path` from being a folder to write into, and what to do; None if it can be one.

    A folder that is not there yet can be made.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        return (
            f"{path} is a link to {target}, which is not there: mount or make that folder, or "
            "remove the link"
        )
    if path.exists() and not path.is_dir():
        return f"{path} is a file where a folder is needed: move the file away"
    return None


@contextmanager
def written_atomically(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` to write to; it takes `path`'s place if nothing went wrong.

    Each process has one of its own: a job that outlived its Snakemake and the one that was started
    in its place never write into the same. What killed processes left in the folder is removed by
    the first write of a process there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.resolve())
    temporary = path.with_name(f".{path.name}.{platform.node()}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@cache
def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files whose processes, of this machine, have ended; once in a process.

    Listing a folder of many thousand images before each of them would take longer than they do.
    """
    for other in folder.glob(f".*.{glob.escape(platform.node())}.*.tmp"):
        process = other.suffixes[-2].removeprefix(".")
        if process.isdigit() and not _runs(int(process)):
            other.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole, with line ends that do not depend on the machine."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
