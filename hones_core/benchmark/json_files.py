"""Reading JSON files and checking single fields, with errors that name file, record and remedy."""

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

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


def load_json(path: str | Path) -> dict[str, Any]:
    """The JSON object in `path`; AnnotationError if missing, compressed, cut off or no object.

    A key that occurs twice in one object is refused too: COCO-Text keys its annotations by id, and
    a plain parser would silently keep the last.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "check the path in the configuration, or download the official file"
        raise AnnotationError(path, "file", f"can't be read ({reason})", remedy) from error
    if content[:2] in (b"\x1f\x8b", b"PK"):
        raise AnnotationError(path, "file", "is compressed, not JSON", "unpack it first")
    try:
        data = json.loads(content, object_pairs_hook=_unique_keys)
    except _RepeatedKeyError as error:
        raise AnnotationError(path, "file", f"key {error.args[0]!r} occurs twice", EDITED) from None
    except (ValueError, RecursionError) as error:
        raise AnnotationError(path, "file", f"is not valid JSON ({error})", DAMAGED) from error
    if not isinstance(data, dict):
        problem = f"holds a {type(data).__name__} where an object is expected"
        raise AnnotationError(path, "file", problem, "give the official file of this kind")
    return data


class _RepeatedKeyError(Exception):
    """Not a ValueError, so that it is told apart from the parser's own."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return entry


def entry_list(data: dict[str, Any], section: str, path: Path) -> list[tuple[Place, dict]]:
    """The records of the list `section`, each with its place."""
    return _entries(data, section, path, list, enumerate)


def entry_mapping(data: dict[str, Any], section: str, path: Path) -> list[tuple[Place, dict]]:
    """The records of the mapping `section`, each with its place."""
    return _entries(data, section, path, dict, dict.items)


def _entries(data, section, path, kind, pairs) -> list[tuple[Place, dict]]:
    found = data.get(section)
    if not isinstance(found, kind):
        state = "is missing" if section not in data else f"is a {type(found).__name__}"
        problem = f"{state} where a {kind.__name__} is expected; top-level keys are {sorted(data)}"
        raise AnnotationError(path, section, problem, "give the official file of this kind")
    entries = []
    for key, entry in pairs(found):
        place = Place(path, section, key)
        if not isinstance(entry, dict):
            raise place.error(f"is a {type(entry).__name__} where an object is expected")
        entries.append((place, entry))
    return entries


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
        if type(value) not in (int, float) or not math.isfinite(value):
            raise place.error(f"{key} is {_shown(entry, key)} where {wanted} are expected")
    return tuple(float(value) for value in values)


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
