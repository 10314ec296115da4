"""What is wrong with a configuration, in words for the person who wrote it."""

import difflib
import reprlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

# Pydantic's words for what stands in a file.
_WORDS = {
    "valid tuple": "list",
    "Tuple": "List",
    " after validation": "",
    "valid dictionary or instance of": "section of keys,",
    "valid dictionary": "section of keys",
}
LONGEST_LINE = 450  # characters
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100


def explained(error: ValidationError, settings: type[BaseModel]) -> list[str]:
    """A line for each key at fault; `settings` is what was asked for, with all its sections."""
    problems = error.errors()
    places = [problem["loc"] for problem in problems]
    # A list whose items are all wrong is also reported as too short: say only why.
    return [
        _explain(problem, settings)
        for problem in problems
        if not any(
            place[:-1] and place[: len(problem["loc"])] == problem["loc"] != place
            for place in places
        )
    ]


def _explain(problem: Mapping[str, Any], settings: type[BaseModel]) -> str:
    where = ".".join(_named(part) for part in problem["loc"]) or "config"
    if problem["type"] != "extra_forbidden":
        # Of a whole section, the message says which of its values are meant.
        silent = problem["type"] == "missing" or isinstance(problem["input"], dict | BaseModel)
        given = "" if silent else f" (given: {_SHORT.repr(problem['input'])})"
        text = problem["msg"].removeprefix("Value error, ")
        for word, known in _WORDS.items():
            text = text.replace(word, known)
        return _cut(f"{where}: {text}{given}")
    keys = _known_keys(problem["loc"][:-1], settings)
    close = difflib.get_close_matches(str(problem["loc"][-1]), keys, n=1, cutoff=0.0)
    return _cut(f"{where}: unknown key; did you mean {close[0]!r}?")


def _cut(line: str) -> str:
    """The line, ended where nobody reads on."""
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} ..."


def _named(part: str | int) -> str:
    """A key or index for a message on one line."""
    text = str(part)
    return text if text.isprintable() and len(text) < 100 else _SHORT.repr(text)


def _known_keys(location: tuple, settings: type[BaseModel]) -> list[str]:
    """Keys of the section at `location`."""
    model = settings
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = _section_of(model.model_fields[part].annotation)
    return list(model.model_fields)


def _section_of(annotation: Any) -> type[BaseModel]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        if isinstance(argument, type) and issubclass(argument, BaseModel):
            return argument
    raise TypeError(f"{annotation} is not a section of the configuration")
