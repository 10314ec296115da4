"""Files that are whole or not there: written under a temporary name, then renamed."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
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
    """A temporary file beside `path` to write to; it takes `path`'s place if nothing went wrong."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)  # mkstemp makes private files
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise
