"""Reading large JSON files record by record, with memory for one piece of the file only.

The official files are one object whose members are long lists or mappings of small records. A
record is decoded by the standard decoder, so that what is valid JSON is decided there and nowhere
else; this module only walks from one record to the next.
"""

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.json_files import DAMAGED, EDITED, Place

CHUNK_BYTES = 1 << 22
# Longer values are taken for damage, such as a quotation mark that is never closed. The largest
# records of the official files (COCO-Text's regions, TextVQA's questions) have some kilobytes.
MAX_RECORD_CHARACTERS = 1 << 24
LONGEST_NUMBER_TAIL = 4
WRONG_FILE = "give the official file of this kind"
_SPACE = re.compile(r"[ \t\n\r]*")
_KINDS = {"[": list, "{": dict}


def records(path: str | Path, section: str, kind: type[list] | type[dict]) -> Iterator:
    """The records of the top-level list or mapping `section`, each as (its Place, the object).

    AnnotationError if the file is missing, compressed, cut off or not in that layout, if a record
    is no object, or if a key occurs twice in one object (COCO-Text keys its annotations by id, and
    a plain parser would silently keep the last). The whole file is read and checked.
    """
    path, names, found = Path(path), set(), False
    with _Reader(path) as reader:
        reader.open_object()
        for name in reader.members():
            names.add(name)
            opened = reader.kind()
            if name != section:
                reader.skip()
            elif opened is not kind:
                raise _wrong_layout(path, section, f"is a {_named(opened)}", kind, names)
            else:
                found = True
                yield from _objects(path, section, reader.items())
        reader.finish()
    if not found:
        raise _wrong_layout(path, section, "is missing", kind, names)


def top_level_records(path: str | Path) -> Iterator[tuple[Place, dict]]:
    """The members of a file that is one mapping of records (GQA), each as (its Place, the object).

    Raises AnnotationError as `records` does.
    """
    path = Path(path)
    with _Reader(path) as reader:
        reader.open_object()
        yield from _objects(path, "file", ((name, reader.value()) for name in reader.members()))
        reader.finish()


def _objects(path: Path, section: str, items: Iterator) -> Iterator[tuple[Place, dict]]:
    for key, entry in items:
        place = Place(path, section, key)
        if not isinstance(entry, dict):
            raise place.error(f"is a {type(entry).__name__} where an object is expected")
        yield place, entry


def _wrong_layout(
    path: str | Path, section: str, state: str, kind: type, names: Iterable[str]
) -> AnnotationError:
    problem = f"{state} where a {kind.__name__} is expected; top-level keys are {sorted(names)}"
    return AnnotationError(path, section, problem, WRONG_FILE)


def _named(kind: type | None) -> str:
    return kind.__name__ if kind else "single value"


class _RepeatedKeyError(Exception):
    """Not a ValueError, so that it is told apart from the decoder's own."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entry = dict(pairs)
    if len(entry) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _RepeatedKeyError(next(key for key in keys if keys.count(key) > 1))
    return entry


class _Reader:
    """A place in a JSON file. `text` holds what has been read and not been passed yet."""

    def __init__(self, path: Path):
        self._path = path
        self._scan: Callable = json.JSONDecoder(object_pairs_hook=_unique_keys).raw_decode
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._text, self._at, self._ended = "", 0, False

    def __enter__(self) -> "_Reader":
        try:
            self._file = self._path.open("rb")
            start = self._file.read(2)
        except OSError as error:
            reason = error.strerror or str(error)
            remedy = "check the path in the configuration, or download the official file"
            raise AnnotationError(
                self._path, "file", f"can't be read ({reason})", remedy
            ) from error
        if start in (b"\x1f\x8b", b"PK"):
            self._file.close()
            raise AnnotationError(self._path, "file", "is compressed, not JSON", "unpack it first")
        self._file.seek(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def open_object(self) -> None:
        """Pass the brace that opens the file."""
        kind = _KINDS.get(self._next())
        if kind is list:
            problem = "holds a list where an object is expected"
            raise AnnotationError(self._path, "file", problem, WRONG_FILE)
        self._pass("{")

    def members(self) -> Iterator[str]:
        """The keys of an object whose brace has been passed; the caller passes each value."""
        seen: set[str] = set()
        while not self._closes("}", first=not seen):
            if self._next() != '"':
                raise self._damage("a key is expected")
            key = self.value()
            if key in seen:
                raise self._twice(key)
            seen.add(key)
            self._pass(":")
            yield key

    def items(self) -> Iterator[tuple[int | str, Any]]:
        """(index or key, value) of the list or object that comes next."""
        if self.kind() is dict:
            self._pass("{")
            yield from ((key, self.value()) for key in self.members())
            return
        self._pass("[")
        index = 0
        while not self._closes("]", first=index == 0):
            yield index, self.value()
            index += 1

    def kind(self) -> type | None:
        """Of the value that comes next: list, dict, or None for a single value."""
        sign = self._next()
        if not sign:
            raise self._damage("the file ends where a value is expected")
        return _KINDS.get(sign)

    def skip(self) -> None:
        """Pass the value that comes next, without keeping more than a piece of it."""
        if self.kind() is None:
            self.value()
        else:
            for _ in self.items():
                pass

    def value(self) -> Any:
        """Decode the value that comes next."""
        self._next()
        while True:
            try:
                value, end = self._scan(self._text, self._at)
            except _RepeatedKeyError as error:
                raise self._twice(error.args[0]) from None
            except (ValueError, RecursionError) as error:
                if isinstance(error, RecursionError) or not self._more():
                    raise self._damage(str(error)) from error
                continue
            length = end - self._at  # reading more moves the place
            if len(self._text) - end < LONGEST_NUMBER_TAIL and self._more():
                continue  # a number may go on: "1" is decoded of "1e+"
            self._at += length
            return value

    def finish(self) -> None:
        """Check that nothing but white space follows."""
        if self._next():
            raise self._damage("text follows the end of the object")

    def _closes(self, bracket: str, first: bool) -> bool:
        """Pass the closing bracket, or the comma before a further element."""
        found = self._next()
        if found == bracket:
            self._at += 1
            return True
        if not first:
            self._pass(",")
        return False

    def _pass(self, sign: str) -> None:
        if self._next() != sign:
            raise self._damage(f"{sign!r} is expected")
        self._at += 1

    def _next(self) -> str:
        """The next character that is no white space, empty at the end of the file."""
        while True:
            if space := _SPACE.match(self._text, self._at):
                self._at = space.end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Read a further piece, dropping what has been passed; False at the end."""
        if self._ended or len(self._text) - self._at > MAX_RECORD_CHARACTERS:
            return False
        content = self._file.read(CHUNK_BYTES)
        self._ended = not content
        try:
            text = self._decode(content, self._ended)
        except UnicodeDecodeError as error:
            raise self._damage(str(error)) from error
        self._text, self._at = self._text[self._at :] + text, 0
        return bool(text) or not self._ended

    def _damage(self, what: str) -> AnnotationError:
        place = f" near byte {self._file.tell():,}" if self._file.tell() > CHUNK_BYTES else ""
        return AnnotationError(self._path, "file", f"is not valid JSON ({what}{place})", DAMAGED)

    def _twice(self, key: str) -> AnnotationError:
        return AnnotationError(self._path, "file", f"key {key!r} occurs twice", EDITED)
