"""Flickr30k's captions, in the three forms in which they circulate.

- `dataset_flickr30k.json` of Karpathy's splits: 31,014 images, each with `filename`, `split` and
  `sentences` (`raw`, `sentid`).
- `results.csv`: 31,783 images, one caption a line, fields separated by `| ` without quotes, spaces
  in the header, and one line ("2199200615.jpg| 4   A dog runs across the grass .") that lacks the
  second separator.
- `flickr_annotations_30k.csv`: Karpathy's content as CSV, `raw` and `sentids` being JSON lists.

The form is told by the first characters of the file.
"""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.json_files import DAMAGED, Place, file_name, integer, text
from hones_core.benchmark.json_stream import records
from hones_core.benchmark.ood_readers import FEWER_THAN_FIVE_CAPTIONS, OodData, OodItem

CAPTIONS_NEEDED = 5
FORMS = "dataset_flickr30k.json, results.csv, flickr_annotations_30k.csv"
_WITHOUT_SEPARATOR = re.compile(r"(\d+)\s+(\S.*)")
_NUMBER = re.compile(r"\d{1,9}")
Captions = dict[str, dict[int, str]]  # image file -> caption number -> raw caption


def read_flickr30k(path: str | Path, split: str | None = None) -> OodData:
    """Read a captions file of any of the three forms.

    `split` keeps the images of one of Karpathy's splits (train, val, test), None all of them.
    References are the first five captions with text, by their numbers, white space normalised.
    Raises AnnotationError for a damaged or unknown file, and if `split` is asked of results.csv,
    which has none.
    """
    path = Path(path)
    start = _start(path)
    if start.startswith("{"):
        found = _karpathy(path, split)
    elif "comment_number" in start:
        if split is not None:
            problem = f"has no splits, but the images of split {split!r} are asked for"
            raise AnnotationError(
                path, "file", problem, "set the split to null, or take Karpathy's"
            )
        found = _results(path)
    elif "sentids" in start:
        found = _sentids(path, split)
    else:
        problem = f"is of no known form of Flickr30k's captions ({FORMS})"
        raise AnnotationError(path, "file", problem, "give one of these files")
    return _items(found)


def _items(captions: Captions) -> OodData:
    data = OodData()
    for image in sorted(captions):
        numbered = captions[image]
        texts = (" ".join(numbered[number].split()) for number in sorted(numbered))
        filled = [caption for caption in texts if caption]
        if len(filled) < CAPTIONS_NEEDED:
            detail = f"{len(filled)} of {len(numbered)} captions have text"
            data.excluded.append((image, FEWER_THAN_FIVE_CAPTIONS, detail))
        else:
            data.items.append(OodItem(image, image, "", tuple(filled[:CAPTIONS_NEEDED])))
    return data


def _start(path: Path) -> str:
    try:
        with path.open("rb") as file:
            start = file.read(4096)
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "check the path in the configuration, or download the file"
        raise AnnotationError(path, "file", f"can't be read ({reason})", remedy) from error
    if start[:2] in (b"\x1f\x8b", b"PK"):
        raise AnnotationError(path, "file", "is compressed", "unpack it first")
    return start.decode("utf-8-sig", errors="replace").lstrip().split("\n")[0]


def _karpathy(path: Path, split: str | None) -> Captions:
    captions: Captions = {}
    for place, entry in records(path, "images", list):
        image = _new_image(entry, place, captions)
        sentences = entry.get("sentences")
        if not isinstance(sentences, list):
            raise place.error("sentences are missing or no list")
        if split in (None, text(entry, "split", place)):
            captions[image] = {}
            for number, sentence in enumerate(sentences):
                inner = Place(path, f"images[{place.key}]['sentences']", number)
                if not isinstance(sentence, dict):
                    raise inner.error("is no object with a caption")
                _put(captions[image], integer(sentence, "sentid", inner), sentence, "raw", inner)
    return captions


def _sentids(path: Path, split: str | None) -> Captions:
    captions: Captions = {}
    for place, row in _rows(path):
        image = _new_image(row, place, captions)
        raw, numbers = (_json_list(row, key, place) for key in ("raw", "sentids"))
        if len(raw) != len(numbers):
            raise place.error(f"raw has {len(raw)} captions, sentids {len(numbers)}")
        if split in (None, row.get("split")):
            captions[image] = {}
            for number, caption in zip(numbers, raw, strict=True):
                entry = {"sentids": number, "raw": caption}
                _put(captions[image], integer(entry, "sentids", place), entry, "raw", place)
    return captions


def _rows(path: Path) -> Iterator[tuple[Place, dict]]:
    reader = csv.DictReader(io.StringIO(_content(path)), strict=True)
    try:
        for number, row in enumerate(reader):
            yield Place(path, "row", number), row
    except csv.Error as error:
        raise AnnotationError(
            path, f"line {reader.line_num}", f"is no CSV ({error})", DAMAGED
        ) from (error)


def _json_list(row: dict, key: str, place: Place) -> list:
    try:
        values = json.loads(row.get(key) or "")
    except (ValueError, RecursionError) as error:
        raise place.error(f"{key} is no JSON list ({error})") from error
    if not isinstance(values, list):
        raise place.error(f"{key} is no JSON list")
    return values


def _results(path: Path) -> Captions:
    captions: Captions = {}
    lines = _content(path).split("\n")
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        place = Place(path, "line", number)
        fields = [field.strip() for field in line.split("|", maxsplit=2)]
        if len(fields) == 2:  # the separator after the number is missing
            joined = _WITHOUT_SEPARATOR.fullmatch(fields[1])
            fields = [fields[0], *joined.groups()] if joined else fields
        if len(fields) != 3 or not _NUMBER.fullmatch(fields[1]):
            raise place.error(f"is {line[:60]!r} where 'image| number| caption' is expected")
        entry = {"image_name": fields[0], "comment": fields[2]}
        image = file_name(entry, "image_name", place)
        _put(captions.setdefault(image, {}), int(fields[1]), entry, "comment", place)
    return captions


def _content(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise AnnotationError(path, "file", f"is not UTF-8 ({error})", DAMAGED) from error


def _new_image(entry: dict, place: Place, seen: Captions) -> str:
    image = file_name(entry, "filename", place)
    if image in seen:
        raise place.error(f"file name {image!r} occurs twice")
    return image


def _put(captions: dict[int, str], number: int, entry: dict, key: str, place: Place) -> None:
    if number in captions:
        raise place.error(f"caption {number} of the image occurs twice")
    captions[number] = text(entry, key, place, default="")
