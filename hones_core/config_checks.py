"""What single values of the configuration cannot show: repeated keys, and contradictions.

Both would be found by a job, but after hours: these checks take milliseconds and need no data.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from hones_core.ranker_catalogue import CATALOGUE, TOKEN_LEVEL

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def repeated_keys(files: Sequence[str | Path]) -> list[str]:
    """A line for each key that stands twice in one section of a YAML file.

    A parser would silently keep the last one. JSON files are not looked at.
    """
    found = []
    for file in map(Path, files):
        text = file.read_text(encoding="utf-8")
        if not _is_json(text):
            root = yaml.compose(text, Loader=_Loader)
            found += [f"{file}: {problem}" for problem in _repeated(root, "", set())]
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _repeated(node: yaml.Node | None, where: str, seen: set[int]) -> Iterator[str]:
    """Repeated keys in a node and below; a node that is referred to again is looked at once."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated(item, f"{where}{index}.", seen)
        return
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in lines:
            yield (
                f"{where}{name} stands in lines {lines[name]} and {line}: the later would hide "
                "the earlier; keep one of them"
            )
        lines.setdefault(name, line)
        yield from _repeated(value, f"{where}{name}.", seen)


def contradictions(settings: Any) -> list[str]:
    """A line for each value that cannot be had together with another one.

    `settings` is a Settings, whose module imports this one.
    """
    return [*_too_many_samples(settings), *_rankers_without_hones(settings)]


def _too_many_samples(settings: Any) -> Iterator[str]:
    images = settings.benchmark.splits.discovery
    queries = settings.benchmark.retrieval.n_queries.discovery
    for name in ("heads", "neurons"):
        samples = getattr(settings, name).samples
        for task in settings.tasks:
            asked, there = samples.get(task), queries if task == "retrieval" else images
            key = "retrieval.n_queries" if task == "retrieval" else "splits"
            if asked is not None and asked > there:
                yield (
                    f"{name}.samples.{task}: {asked} are asked for, but "
                    f"benchmark.{key}.discovery is {there}; lower the one or raise the other"
                )
    asked = settings.neurons.token_level_samples
    measured = any(CATALOGUE[name].tasks == TOKEN_LEVEL for name in settings.neurons.rankers)
    if measured and asked is not None and asked > images and "vqa" in settings.tasks:
        yield (
            f"neurons.token_level_samples: {asked} are asked for, but "
            f"benchmark.splits.discovery is {images}; lower the one or raise the other"
        )


def _rankers_without_hones(settings: Any) -> Iterator[str]:
    """Overlap groups, the logit lens and steering are all of HONES' neurons."""
    if "hones" not in settings.neurons.rankers:
        yield "neurons.rankers: hones is missing, whose neurons make the groups; add it"
    for index, model in enumerate(settings.models):
        if model.rankers is not None and "hones" not in model.rankers:
            yield (
                f"models.{index}.rankers: hones is missing, whose neurons make the groups of "
                f"{model.name}; add it, or set rankers to null for all"
            )
