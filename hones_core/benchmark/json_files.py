"""Checking single fields of JSON records, with errors that name file, record and remedy."""

import math
import sys
from pathlib import Path
from typing import NamedTuple

from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.file_names import unsafe_name

DAMAGED = "the download is incomplete or damaged, download the official file again"
EDITED = "correct the record or take the official file"
LARGEST_ID = 2**63 - 1  # what an int64 column holds


class Place(NamedTuple):
    """Where a record stands: the file, the list or mapping in it, and the index or key there."""

    path: Path
    section: str
    key: int | str

    def error(self, problem: str, remedy: str = EDITED) -> AnnotationError:
        """The error to raise for this record."""
        return AnnotationError(self.path, f"{self.section}[{self.key!r}]", problem, remedy)


def integer(entry: dict, key: str, place: Place, smallest: int = 0) -> int:
    """The integer field `key`, at least `smallest`. A string of digits is refused, as is true."""
    value = entry.get(key)
    if type(value) is not int or not smallest <= value <= LARGEST_ID:
        wanted = f"an integer from {smallest}"
        raise place.error(f"{key} is {_shown(entry, key)} where {wanted} is expected")
    return value


def text(entry: dict, key: str, place: Place, default: str | None = None) -> str:
    """The text field `key`, or `default` (if there is one) where it is missing or null."""
    value = entry.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise place.error(f"{key} is {_shown(entry, key)} where a text is expected")
    if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise place.error(f"{key} holds half of a surrogate pair, which is no character")
    return value


def numbers(entry: dict, key: str, place: Place, count: int | None = None) -> tuple[float, ...]:
    """The field `key` as a tuple of (`count`) finite numbers."""
    values = entry.get(key)
    wanted = f"{count or 'a list of'} finite numbers"
    if not isinstance(values, list) or (count is not None and len(values) != count):
        raise place.error(f"{key} is {_shown(entry, key)} where {wanted} are expected")
    for value in values:
        if not is_finite(value):
            raise place.error(f"{key} is {_shown(entry, key)} where {wanted} are expected")
    return tuple(float(value) for value in values)


def is_finite(value: object) -> bool:
    """Whether `value` is a number that a float holds; an integer of hundreds of digits is not."""
    if type(value) is int:
        return abs(value) <= sys.float_info.max
    return type(value) is float and math.isfinite(value)


def file_name(entry: dict, key: str, place: Place) -> str:
    """The field `key` as a file name that stays inside the image folder."""
    name = text(entry, key, place)
    problem = unsafe_name(name)
    if problem:
        raise place.error(f"{key} {name!r} {problem}", "give a name relative to the image folder")
    return name


def _shown(entry: dict, key: str) -> str:
    """The value of a field for a message, cut to a readable length."""
    return repr(entry[key])[:80] if key in entry else "missing"
