"""File names that stay inside the image folder."""

from pathlib import PurePosixPath


def unsafe_name(name: str) -> str | None:
    """What makes `name` unfit as a file name relative to the image folder; None if it is fit."""
    if not name.strip() or "\0" in name:
        return "is empty or holds a null character"
    if "\\" in name:
        return "holds a backslash"
    if name.startswith("/"):
        return "is absolute"
    if ".." in PurePosixPath(name).parts:
        return "leaves the image folder"
    return None
