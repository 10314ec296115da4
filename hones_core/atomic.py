"""Files that are whole or not there: written under a temporary name, then renamed."""

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
    """A temporary file beside `path` to write to; it takes `path`'s place if nothing went wrong.

    Its name is always the same, so that what a killed process leaves is gone with the next try.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.touch()
        yield temporary
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole, with line ends that do not depend on the machine."""
    with written_atomically(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
