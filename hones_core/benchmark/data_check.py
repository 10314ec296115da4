"""Are the configured data there, whole, and about the same images? Before anything else runs.

Every annotation file is read once from end to end, but nothing is selected; the image folders are
listed once. Numbers unlike those of the official files are noted, not refused: subsets are fine.
Missing is a problem where the default target reads it: COCO always, the other data sets as far as
`groups.ood_sets` names a set of them.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.flickr30k import read_flickr30k
from hones_core.benchmark.json_files import file_name, integer
from hones_core.benchmark.json_stream import records
from hones_core.benchmark.ood_readers import READERS
from hones_core.schemas.benchmark_tables import DATA_CHECK
from hones_core.tasks.ood_sets import OOD_SETS

OK, NOTE, PROBLEM = "ok", "note", "problem"
NOT_NEEDED = "not there; only ood_benchmark, ood_predictions and ood_steering need it"
SHOWN = 3  # examples of missing images

# Records of the official files (train2014; COCO-Text v2.0 or v1.4 have the same images).
OFFICIAL = {
    "captions": {"images": 82_783, "captions": 414_113},
    "coco_text": {"images": 63_686},
    "vqa_questions": {"questions": 443_757},
    "vqa_annotations": {"annotations": 443_757},
}


class Row(NamedTuple):
    """One line of the table; see the schema DATA_CHECK."""

    data: str
    check: str
    expected: str
    found: str
    status: str


class _Source(NamedTuple):
    """What a file says: counts by name, image file by image id (empty where it names none)."""

    counts: dict[str, int]
    images: dict[int, str]


def check_coco(data: Mapping[str, str]) -> list[Row]:
    """Check the four annotation files and the image folder of the section `data`."""
    rows, sources = [], {}
    for key, reader in _COCO_READERS.items():
        found, source = _read(key, data[key], reader)
        rows += found
        if source is not None:
            sources[key] = source
            rows += [
                _count(key, what, OFFICIAL[key][what], count)
                for what, count in source.counts.items()
            ]
    needed: dict[int, str] = {}
    if len(sources) == len(_COCO_READERS):
        rows.append(_answered(sources))
        common = set.intersection(
            *(set(sources[key].images) for key in ("captions", "coco_text", "vqa_questions"))
        )
        needed = {image_id: sources["captions"].images[image_id] for image_id in common}
        status = OK if needed else PROBLEM
        text = f"{len(needed):,}"
        rows.append(Row("all sources", "images in captions, COCO-Text and VQA", "", text, status))
    return rows + _check_images("image_folder", data["image_folder"], needed.values())


def check_ood(ood: Mapping[str, Mapping], ood_sets: Collection[str]) -> list[Row]:
    """Check the files and image folders of gqa, textvqa and flickr30k in the section `ood`.

    ood_sets: those of `groups.ood_sets` that the run masks groups on. A data set of theirs whose
    file is not there is a problem; any other is noted only, as the default target does without.
    """
    rows = []
    for dataset, cfg in ood.items():
        key = "captions" if dataset == "flickr30k" else "questions"
        if not Path(cfg[key]).exists():
            asked = [name for name in ood_sets if OOD_SETS[name].dataset == dataset]
            rows.append(_not_there(f"{dataset}.{key}", cfg[key], asked))
            continue
        reader = _flickr_reader(cfg) if dataset == "flickr30k" else READERS[dataset]
        found, data = _read(f"{dataset}.{key}", cfg[key], reader)
        rows += found
        images: set[str] = set()
        if data is not None:
            images = {item.image for item in data.items}
            status = OK if images else PROBLEM
            text = f"{len(data.items):,} on {len(images):,} images, {len(data.excluded):,} excluded"
            rows.append(Row(f"{dataset}.{key}", "complete items", "", text, status))
        rows += _check_images(f"{dataset}.image_folder", cfg["image_folder"], images)
    return rows


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows as a frame of the schema DATA_CHECK."""
    frame = pd.DataFrame(list(rows), columns=Row._fields)
    frame["row"] = range(len(frame))
    return frame[DATA_CHECK.names]


def _not_there(key: str, path: str, asked: Sequence[str]) -> Row:
    """A data set's file that is missing; `asked`: its sets of `groups.ood_sets`."""
    if not asked:
        return Row(key, "file", path, NOT_NEEDED, NOTE)
    found = (
        "not there, and the table ood_group_drop needs it: get it (docs/data.md), "
        f"or leave {' and '.join(asked)} out of groups.ood_sets"
    )
    return Row(key, "file", path, found, PROBLEM)


def _flickr_reader(cfg: Mapping) -> Callable:
    return lambda path: read_flickr30k(path, cfg["split"])


def _read(key: str, path: str, reader: Callable) -> tuple[list[Row], Any]:
    """The file's size, and what `reader` makes of it, or the problem that it meets."""
    try:
        size = f"{Path(path).stat().st_size / 1e6:,.1f} MB"
    except OSError as error:
        return [Row(key, "file", path, error.strerror or str(error), PROBLEM)], None
    try:
        return [Row(key, "file", path, size, OK)], reader(path)
    except AnnotationError as error:
        return [Row(key, "file", path, f"{size}: {error}", PROBLEM)], None


def _read_captions(path: str) -> _Source:
    images = {
        integer(entry, "id", place): file_name(entry, "file_name", place)
        for place, entry in records(path, "images", list)
    }
    captions = _image_ids(path, "annotations", list)
    return _Source({"images": len(images), "captions": sum(1 for _ in captions)}, images)


def _read_coco_text(path: str) -> _Source:
    images = {
        integer(entry, "id", place): file_name(entry, "file_name", place)
        for place, entry in records(path, "imgs", dict)
    }
    return _Source({"images": len(images)}, images)


def _read_questions(section: str) -> Callable[[str], _Source]:
    def read(path: str) -> _Source:
        ids = list(_image_ids(path, section, list))
        return _Source({section: len(ids)}, dict.fromkeys(ids, ""))

    return read


def _image_ids(path: str, section: str, kind: type) -> Iterator[int]:
    return (integer(entry, "image_id", place) for place, entry in records(path, section, kind))


_COCO_READERS: dict[str, Callable[[str], _Source]] = {
    "captions": _read_captions,
    "coco_text": _read_coco_text,
    "vqa_questions": _read_questions("questions"),
    "vqa_annotations": _read_questions("annotations"),
}


def _count(key: str, what: str, official: int, found: int) -> Row:
    status = OK if found == official else NOTE if found else PROBLEM
    return Row(key, f"number of {what}", f"official: {official:,}", f"{found:,}", status)


def _answered(sources: Mapping[str, _Source]) -> Row:
    asked, answered = (set(sources[key].images) for key in ("vqa_questions", "vqa_annotations"))
    unasked = answered - asked
    found = f"{len(asked & answered):,} of {len(asked):,}"
    if unasked:
        found += f"; {len(unasked):,} answered images without question"
    status = PROBLEM if unasked else OK if asked == answered else NOTE
    return Row("vqa_annotations", "images with questions that have answers", "all", found, status)


def _check_images(key: str, folder: str, needed: Iterable[str]) -> list[Row]:
    """Whether the folder holds the images, by one listing of each folder that they are in."""
    names = sorted(set(needed))
    there: set[str] = set()
    try:
        for part in {"", *(name.rpartition("/")[0] for name in names)}:
            with os.scandir(Path(folder) / part) as entries:
                files = (e.name for e in entries if e.is_file() and not e.name.startswith("."))
                there |= {f"{part}/{name}" if part else name for name in files}
    except OSError as error:
        found = f"{error.filename}: {error.strerror}"
        return [Row(key, "folder", folder, found, PROBLEM)]
    rows = [Row(key, "folder", folder, f"{len(there):,} files", OK)]
    missing = [name for name in names if name not in there]
    found = f"{len(names) - len(missing):,}"
    if missing:
        found += f"; {len(missing):,} are missing, such as {', '.join(missing[:SHOWN])}"
    status = OK if not missing else PROBLEM
    return [*rows, Row(key, "images needed", f"{len(names):,}", found, status)]
