"""Every damage of an official file stops reading with an error that names file and record."""

import gzip
import json
import math

import pytest
from benchmark_support import FILES, answers, official, text_box, write

from hones_core.benchmark.annotations import read_captions, read_coco_text, read_vqa
from hones_core.benchmark.errors import AnnotationError


def read_all(paths):
    captions = read_captions(paths["captions"])
    coco_text = read_coco_text(paths["coco_text"])
    return captions, coco_text, read_vqa(paths["vqa_questions"], paths["vqa_annotations"])


def test_reads_the_official_layout(tmp_path, capsys):
    captions, coco_text, questions = read_all(write(tmp_path, official([3, 1])))
    assert list(captions.images) == [1, 3]
    assert captions.captions[3][30] == "caption 0 of image 3"
    assert coco_text.boxes[1][0].box == (8.0, 6.0, 20.0, 10.0)
    assert questions[1][0].answers == tuple(f"a{k}" for k in range(10))
    assert capsys.readouterr().out == ""  # pycocotools would print


def test_reads_the_v1_layout(tmp_path):
    data = official([1])
    entry = data["coco_text"]["anns"]["7"]
    entry["polygon"] = entry.pop("mask")
    data["coco_text"]["anns"]["8"] = {
        key: value
        for key, value in text_box(8, 1, legibility="illegible").items()
        if key not in ("utf8_string", "mask")
    }
    _, coco_text, _ = read_all(write(tmp_path, data))
    legible, illegible = coco_text.boxes[1]
    assert (legible.legible, legible.outline_ok, legible.transcription) == (True, True, "T1")
    assert (illegible.legible, illegible.transcription) == (False, "")


def caption(data):
    return data["captions"]["annotations"][0]


def image(data):
    return data["captions"]["images"][0]


def box(data):
    return data["coco_text"]["anns"]["7"]


# what is broken: the file at fault, the change, and what the message says
DAMAGES = {
    "image twice": (
        "captions",
        lambda d: d["captions"]["images"].append(dict(image(d), file_name="other.jpg")),
        r"images\[2\]: image id 1 occurs twice",
    ),
    "file name twice": (
        "captions",
        lambda d: d["captions"]["images"].append(dict(image(d), id=9)),
        "file name 'COCO_train2014_000000000001.jpg' occurs twice",
    ),
    "caption id twice": (
        "captions",
        lambda d: d["captions"]["annotations"].append(dict(caption(d))),
        r"annotations\[10\]: annotation id 10 occurs twice",
    ),
    "caption of an undeclared image": (
        "captions",
        lambda d: caption(d).update(image_id=77),
        r"annotations\[0\]: image 77 is not declared",
    ),
    "caption id as a string": (
        "captions",
        lambda d: caption(d).update(id="10"),
        "id is '10' where an integer",
    ),
    "image id as a number with a point": (
        "captions",
        lambda d: image(d).update(id=1.0),
        r"id is 1.0 where an integer",
    ),
    "image id true": ("captions", lambda d: image(d).update(id=True), "id is True where"),
    "negative id": ("captions", lambda d: caption(d).update(id=-1), "id is -1 where"),
    "id beyond 64 bits": ("captions", lambda d: caption(d).update(id=2**63), "where an integer"),
    "no width": ("captions", lambda d: image(d).pop("width"), "width is missing where"),
    "zero height": ("captions", lambda d: image(d).update(height=0), "height is 0 where"),
    "caption is a number": ("captions", lambda d: caption(d).update(caption=5), "caption is 5"),
    "half a character": (
        "captions",
        lambda d: caption(d).update(caption="a \ud800 b"),
        "half of a surrogate pair",
    ),
    "absolute name": (
        "captions",
        lambda d: image(d).update(file_name="/etc/x.jpg"),
        "'/etc/x.jpg' is absolute",
    ),
    "name with dots": (
        "captions",
        lambda d: image(d).update(file_name="a/../../x.jpg"),
        "leaves the image folder",
    ),
    "name with a backslash": (
        "captions",
        lambda d: image(d).update(file_name="..\\x.jpg"),
        "holds a backslash",
    ),
    "empty name": ("captions", lambda d: image(d).update(file_name=" "), "is empty"),
    "images are a mapping": (
        "captions",
        lambda d: d["captions"].update(images={}),
        "images: is a dict where a list is expected",
    ),
    "no annotations": (
        "captions",
        lambda d: d["captions"].pop("annotations"),
        "annotations: is missing where a list is expected",
    ),
    "a record that is no object": (
        "captions",
        lambda d: d["captions"]["annotations"].append([1]),
        r"annotations\[10\]: is a list where an object",
    ),
    "box with NaN": (
        "coco_text",
        lambda d: box(d).update(bbox=[1.0, math.nan, 3.0, 4.0]),
        r"anns\['7'\]: bbox is .*nan.* where 4 finite numbers",
    ),
    "infinite box": (
        "coco_text",
        lambda d: box(d).update(bbox=[1.0, 2.0, math.inf, 4.0]),
        "where 4 finite numbers",
    ),
    "box of three": ("coco_text", lambda d: box(d).update(bbox=[1, 2, 3]), "4 finite numbers"),
    "box of strings": (
        "coco_text",
        lambda d: box(d).update(bbox=["1", "2", "3", "4"]),
        "4 finite numbers",
    ),
    "box on an undeclared image": (
        "coco_text",
        lambda d: box(d).update(image_id=77),
        r"anns\['7'\]: image 77 is not declared",
    ),
    "key is not the id": ("coco_text", lambda d: box(d).update(id=6), "its id is 6, not its key"),
    "image key is not the id": (
        "coco_text",
        lambda d: d["coco_text"]["imgs"].update({"5": dict(image(d), id=6, file_name="f.jpg")}),
        r"imgs\['5'\]: its id is 6, not its key",
    ),
    "annotations are a list": (
        "coco_text",
        lambda d: d["coco_text"].update(anns=[]),
        "anns: is a list where a dict is expected",
    ),
    "question twice": (
        "vqa_questions",
        lambda d: d["vqa_questions"]["questions"].append(d["vqa_questions"]["questions"][0]),
        "question id 1000 occurs twice",
    ),
    "question without text": (
        "vqa_questions",
        lambda d: d["vqa_questions"]["questions"][0].pop("question"),
        "question is missing where a text",
    ),
    "answers twice": (
        "vqa_annotations",
        lambda d: d["vqa_annotations"]["annotations"].append(answers(1000, 1)),
        "question id 1000 occurs twice",
    ),
    "answers to an unknown question": (
        "vqa_annotations",
        lambda d: d["vqa_annotations"]["annotations"].append(answers(1001, 1)),
        "question 1001 is not in .*same release",
    ),
    "answers about another image": (
        "vqa_annotations",
        lambda d: d["vqa_annotations"]["annotations"][0].update(image_id=2),
        "question 1000 is about image 1, but its annotation about image 2",
    ),
    "answers are no list": (
        "vqa_annotations",
        lambda d: d["vqa_annotations"]["annotations"][0].update(answers="yes"),
        "answers of question 1000 are missing or no list",
    ),
    "an answer without text": (
        "vqa_annotations",
        lambda d: d["vqa_annotations"]["annotations"][0]["answers"][3].pop("answer"),
        r"annotations\[0\]\['answers'\]\[3\]: answer is missing",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named(tmp_path, name):
    kind, change, message = DAMAGES[name]
    data = official([1, 2])
    change(data)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_all(write(tmp_path, data))
    assert str(tmp_path / FILES[kind]) in str(caught.value)
    assert ";" in str(caught.value)  # the remedy


@pytest.mark.parametrize("kind", FILES)
def test_truncated_file(tmp_path, kind):
    paths = write(tmp_path, official([1]))
    content = paths[kind].read_bytes()
    paths[kind].write_bytes(content[: len(content) // 2])
    with pytest.raises(AnnotationError, match=r"not valid JSON.*download the official file again"):
        read_all(paths)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"[1]", "holds a list where an object is expected"),
        (b'{"images": "\xff"}', "not valid JSON"),
        (b'{"cats": ' + b"[" * 200_000, "not valid JSON"),
        (b'{"imgs": {}, "anns": {}} {}', "text follows the end"),
        (b'{"imgs": {}, "imgs": {}}', "key 'imgs' occurs twice"),
        (gzip.compress(b"{}", mtime=0), "is compressed.*unpack it"),
        (b'{"anns": {"1": {}, "1": {}}}', "key '1' occurs twice"),
        (json.dumps({"questions": []}).encode(), "imgs: is missing.*top-level keys"),
    ],
)
def test_not_the_official_file(tmp_path, content, message):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(AnnotationError, match=message):
        read_coco_text(path)


def test_missing_file(tmp_path):
    with pytest.raises(AnnotationError, match=r"none\.json: file: can't be read .*No such file"):
        read_captions(tmp_path / "none.json")
