"""Random damage to valid annotation files: read, or refused in the project's own words."""

import copy
import json
from pathlib import Path

import pytest
from benchmark_support import FILES, official, write
from fuzz import fuzzed
from hypothesis import given
from hypothesis import strategies as st
from study import GQA, RESULTS_CSV, TEXTVQA

from hones_core.benchmark.annotations import read_captions, read_coco_text, read_vqa
from hones_core.benchmark.data_check import PROBLEM, check_coco, check_ood
from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.flickr30k import read_flickr30k
from hones_core.benchmark.ood_readers import read_gqa, read_textvqa
from hones_core.benchmark.selection import build_records

EXAMPLES = 60  # of each reader and kind of damage
OFFICIAL = official([1, 2, 3])
KARPATHY = {
    "images": [
        {
            "filename": "5.jpg",
            "split": "test",
            "sentences": [{"raw": f"caption {k}", "sentid": k} for k in range(5)],
        }
    ]
}
SENTIDS = 'raw,sentids,split,filename,img_id\n"[""a"", ""b""]","[0, 1]",test,5.jpg,0\n'


def read_questions(path: Path):
    return read_vqa(path, path.with_name(FILES["vqa_annotations"]))


def read_answers(path: Path):
    return read_vqa(path.with_name(FILES["vqa_questions"]), path)


# {name: what is damaged, its file's name, its reader}
READERS = {
    "captions": (OFFICIAL["captions"], FILES["captions"], read_captions),
    "coco_text": (OFFICIAL["coco_text"], FILES["coco_text"], read_coco_text),
    "vqa_questions": (OFFICIAL["vqa_questions"], FILES["vqa_questions"], read_questions),
    "vqa_annotations": (OFFICIAL["vqa_annotations"], FILES["vqa_annotations"], read_answers),
    "gqa": (GQA, "gqa.json", read_gqa),
    "textvqa": (TEXTVQA, "textvqa.json", read_textvqa),
    "flickr30k": (KARPATHY, "flickr30k.json", read_flickr30k),
    "flickr30k_results": (RESULTS_CSV, "results.csv", read_flickr30k),
    "flickr30k_sentids": (SENTIDS, "sentids.csv", read_flickr30k),
}
IN_JSON = [name for name, (content, _, _) in READERS.items() if not isinstance(content, str)]

HUGE = st.sampled_from([2**31, 2**63, -(2**63), 10**400, 1e308, -0.0])
NUMBER = st.integers() | st.floats() | HUGE
TEXT = st.text(max_size=8) | st.sampled_from(["../x", "/etc/passwd", "a\\b", "\ud800", "\0", ""])
LEAF = st.none() | st.booleans() | NUMBER | TEXT
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All four official files, whole; each example writes the one that it damages."""
    path = tmp_path_factory.mktemp("fuzz")
    write(path, OFFICIAL)
    return path


def damaged_bytes(data: st.DataObject, whole: bytes) -> bytes:
    """A piece of the file taken out, put in, repeated, or the end cut off."""
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(start + 40, len(whole))))
    kind = data.draw(st.sampled_from(["cut off", "taken out", "replaced", "repeated"]))
    if kind == "cut off":
        return whole[:start]
    put = {"taken out": b"", "repeated": 2 * whole[start:end]}
    new = put[kind] if kind in put else data.draw(st.binary(max_size=12))
    return whole[:start] + new + whole[end:]


def damaged_content(data: st.DataObject, content):
    """One or two places of a JSON value replaced, taken away, doubled or put under another key."""
    content = copy.deepcopy(content)
    for _ in range(data.draw(st.integers(1, 2))):
        parent = content
        while True:
            keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
            if not keys:
                break
            key = data.draw(st.sampled_from(keys))
            inside = parent[key]
            if not isinstance(inside, dict | list) or data.draw(st.integers(0, 3)) == 0:
                _damage(data, parent, key)
                break
            parent = inside
    return content


def _damage(data: st.DataObject, parent, key) -> None:
    kind = data.draw(st.sampled_from(["replaced", "taken away", "moved"]))
    if kind == "replaced":
        parent[key] = data.draw(VALUE)
    elif kind == "taken away":
        del parent[key]
    elif isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[data.draw(TEXT)] = parent.pop(key)


def read_or_refuse(path: Path, reader) -> object | None:
    """What the reader gives; None if it refuses the file, with its name and what to do."""
    try:
        return reader(path)
    except AnnotationError as error:
        assert str(error).startswith(str(path.parent)), error
        assert path.name in str(error) or "same release" in str(error), error
        assert "; " in str(error) and len(str(error)) < 1500, error
        return None


def restore(path: Path) -> None:
    """The whole file again, if it is one of the four that are read together."""
    for kind, name in FILES.items():
        if path.name == name:
            path.write_text(json.dumps(OFFICIAL[kind]))


@pytest.mark.parametrize("name", READERS)
@fuzzed(EXAMPLES)
@given(data=st.data())
def test_damaged_bytes(folder, name, data):
    content, file, reader = READERS[name]
    whole = content if isinstance(content, str) else json.dumps(content)
    path = folder / file
    path.write_bytes(damaged_bytes(data, whole.encode()))
    found = read_or_refuse(path, reader)
    if found is not None and name in IN_JSON:
        json.loads(path.read_text("utf-8-sig"))  # nothing is read that is no JSON
    restore(path)


@pytest.mark.parametrize("name", IN_JSON)
@fuzzed(EXAMPLES)
@given(data=st.data())
def test_damaged_records(folder, name, data):
    content, file, reader = READERS[name]
    damaged = damaged_content(data, content)
    path = folder / file
    path.write_text(json.dumps(damaged))
    found = read_or_refuse(path, reader)
    if found is not None and name == "captions":
        told = sorted(entry["id"] for entry in damaged["annotations"])
        assert sorted(k for own in found.captions.values() for k in own) == told
    if found is not None and name == "coco_text":
        told = sorted(int(key) for key in damaged["anns"])
        assert sorted(box.box_id for own in found.boxes.values() for box in own) == told
    restore(path)


@fuzzed(EXAMPLES)
@given(data=st.data(), kind=st.sampled_from(list(FILES)))
def test_whatever_is_read_makes_records(folder, data, kind):
    """What the readers accept is enough for the selection: every image is a record or excluded."""
    paths = {one: folder / name for one, name in FILES.items()}
    paths[kind].write_text(json.dumps(damaged_content(data, OFFICIAL[kind])))
    try:
        records, excluded = build_records(**paths)
    except AnnotationError as error:
        assert str(folder) in str(error)
    else:
        ids = [*records["image_id"], *excluded["image_id"]]
        assert len(set(ids)) == len(ids) and records["captions"].map(len).eq(5).all()
    restore(paths[kind])


@fuzzed(EXAMPLES)
@given(data=st.data(), name=st.sampled_from(list(READERS)))
def test_the_data_check_raises_nothing(folder, data, name):
    content, file, _ = READERS[name]
    whole = content if isinstance(content, str) else json.dumps(damaged_content(data, content))
    path = folder / file
    path.write_bytes(whole.encode() if data.draw(st.booleans()) else whole.encode()[:-7])
    if name in FILES:
        rows = check_coco({k: str(folder / f) for k, f in FILES.items()} | {"image_folder": "none"})
    else:
        dataset = name.split("_")[0]
        key = "captions" if dataset == "flickr30k" else "questions"
        cfg = {key: str(path), "image_folder": "none", "split": None}
        rows = check_ood({dataset: cfg}, [])
    assert any(row.status == PROBLEM for row in rows)  # the folder at least
    restore(path)
