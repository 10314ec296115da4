"""GQA, TextVQA and Flickr30k: the official layouts, their quirks, and damage."""

import gzip
import json

import pytest
from workflow_support import ROOT

from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.flickr30k import read_flickr30k
from hones_core.benchmark.ood_readers import read_gqa, read_textvqa

SAMPLE = ROOT.parent / "shared" / "ood_sample"
sample = pytest.mark.skipif(not SAMPLE.exists(), reason="needs the real samples in ../shared")


def written(path, content):
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def gqa(**changes):
    entry = {"question": "Is it red?", "imageId": "n161313", "answer": "yes", "isBalanced": True}
    return {"00126851": {**entry, **changes}}


def textvqa(**changes):
    entry = {"question_id": 34602, "image_id": "003a8ae2ef43b901", "question": "what brand?"}
    return {"data": [{**entry, "answers": ["dakota"] * 10, **changes}]}


@sample
def test_the_real_gqa_sample():
    data = read_gqa(SAMPLE / "SAMPLE-val_balanced_questions.json")
    assert not data.excluded
    first = data.items[0]
    assert (first.item_id, first.image) == ("00126851", "1159529.jpg")
    assert first.question == "Are there carts near the pond?"
    assert first.references == ("yes",) * 10


@sample
def test_the_real_textvqa_sample():
    data = read_textvqa(SAMPLE / "TextVQA_0.5.1_val.json_samples.json")
    assert data.items and not data.excluded
    first = data.items[0]
    assert (first.item_id, first.image) == ("34602", "003a8ae2ef43b901.jpg")
    assert first.references[:4] == ("nous les gosses", "dakota", "clos culombu", "dakota digital")
    assert {len(item.references) for item in data.items} == {10}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"isBalanced": False}, "not_balanced"),
        ({"question": " \n"}, "blank_question"),
        ({"answer": ""}, "no_answers"),
        ({"answer": None}, "no_answers"),
    ],
)
def test_gqa_exclusions_are_counted(tmp_path, changes, reason):
    data = read_gqa(written(tmp_path / "q.json", gqa(**changes)))
    assert not data.items
    assert [(item, why) for item, why, _ in data.excluded] == [("00126851", reason)]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"answers": ["a"] * 9}, "not_ten_answers"),
        ({"answers": []}, "no_answers"),
        ({"answers": ["", " "]}, "no_answers"),
        ({"answers": ["", "", *"abcdefgh"]}, "blank_answer"),
        ({"question": ""}, "blank_question"),
    ],
)
def test_textvqa_exclusions_are_counted(tmp_path, changes, reason):
    data = read_textvqa(written(tmp_path / "q.json", textvqa(**changes)))
    assert [(item, why) for item, why, _ in data.excluded] == [("34602", reason)]


@pytest.mark.parametrize(
    ("read", "content", "message"),
    [
        (read_gqa, gqa(imageId=1159529), "imageId is 1159529 where a text"),
        (read_gqa, gqa(imageId="../../etc/x"), "leaves the image folder"),
        (read_gqa, gqa(imageId="a/b"), "holds a slash"),
        (read_gqa, {"1": []}, "is a list where an object"),
        (read_gqa, [1], "holds a list where an object"),
        (read_textvqa, textvqa(question_id="34602"), "question_id is '34602' where an integer"),
        (read_textvqa, textvqa(answers="x"), "answers is a str where a list"),
        (read_textvqa, textvqa(answers=[1]), "answers is 1 where a text"),
        (read_textvqa, {"data": textvqa()["data"] * 2}, "question id 34602 occurs twice"),
        (read_textvqa, gqa(), "data: is missing"),
    ],
)
def test_damage_of_question_files_is_named(tmp_path, read, content, message):
    with pytest.raises(AnnotationError, match=message):
        read(written(tmp_path / "q.json", content))


def test_a_repeated_gqa_question_is_refused(tmp_path):
    one = json.dumps(gqa())
    with pytest.raises(AnnotationError, match="key '00126851' occurs twice"):
        read_gqa(written(tmp_path / "q.json", one[:-1] + ", " + one[1:]))


CAPTIONS = [f"A dog, number {k}." for k in range(5)]
RESULTS = "image_name| comment_number| comment\n" + "".join(
    f"7.jpg| {k}| {caption}\n" for k, caption in enumerate(CAPTIONS)
)


def karpathy(image="7.jpg", captions=CAPTIONS, split="test"):
    sentences = [{"raw": raw, "sentid": 30 + k} for k, raw in enumerate(captions)]
    return {"filename": image, "split": split, "sentences": sentences[::-1]}


def test_the_separator_that_is_missing_in_the_file_that_circulates(tmp_path):
    text = RESULTS.replace("7.jpg| 4| ", "7.jpg| 4   ").replace("0| A", "0|  A | pipe and a\u2028")
    data = read_flickr30k(written(tmp_path / "results.csv", text))
    assert data.items[0].references == ("A | pipe and a dog, number 0.", *CAPTIONS[1:])
    assert not data.excluded
    windows = read_flickr30k(written(tmp_path / "w.csv", RESULTS.replace("\n", "\r\n")))
    assert windows.items[0].references == tuple(CAPTIONS)


def test_karpathys_splits_and_order(tmp_path):
    images = [karpathy(), karpathy("8.jpg", split="train"), karpathy("9.jpg", CAPTIONS[:4])]
    path = written(tmp_path / "d.json", {"images": images, "dataset": "flickr30k"})
    data = read_flickr30k(path, "test")
    assert [item.image for item in data.items] == ["7.jpg"]
    assert data.items[0].references == tuple(CAPTIONS)
    assert data.excluded == [("9.jpg", "fewer_than_five_captions", "4 of 4 captions have text")]
    assert len(read_flickr30k(path).items) == 2


def test_six_captions_keep_the_first_five_with_text(tmp_path):
    six = ["", *CAPTIONS]
    data = read_flickr30k(written(tmp_path / "d.json", {"images": [karpathy(captions=six)]}))
    assert data.items[0].references == tuple(CAPTIONS)


HEADER = "raw,sentids,split,filename,img_id\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("caption,image\n", "is of no known form of Flickr30k's captions"),
        ("", "is of no known form"),
        (RESULTS + "7.jpg| 4| again\n", "caption 4 of the image occurs twice"),
        (RESULTS + "8.jpg\n", r"line\[7\]: is '8.jpg' where 'image\| number\| caption'"),
        (RESULTS + "8.jpg| x| y\n", "where 'image"),
        (RESULTS + "../8.jpg| 0| y\n", "leaves the image folder"),
        ({"images": [karpathy(), karpathy()]}, "file name '7.jpg' occurs twice"),
        ({"images": [{"filename": "7.jpg", "split": "test"}]}, "sentences are missing"),
        ({"images": [{**karpathy(), "sentences": [1]}]}, "is no object with a caption"),
        (HEADER + '"[""a""]","[1, 2]",test,7.jpg,0\n', "raw has 1 captions, sentids 2"),
        (HEADER + '"[""a""","[1]",test,7.jpg,0\n', "raw is no JSON list"),
        (HEADER + '"[""a""]","[""1""]",test,7.jpg,0\n', "sentids is '1' where an integer"),
        (HEADER + '"[""a', "is no CSV"),
    ],
)
def test_damage_of_caption_files_is_named(tmp_path, content, message):
    with pytest.raises(AnnotationError, match=message):
        read_flickr30k(written(tmp_path / "captions", content))


def test_splits_compressed_and_missing_caption_files(tmp_path):
    with pytest.raises(AnnotationError, match=r"has no splits.*set the split to null"):
        read_flickr30k(written(tmp_path / "results.csv", RESULTS), "test")
    (tmp_path / "packed").write_bytes(gzip.compress(RESULTS.encode()))
    with pytest.raises(AnnotationError, match="is compressed"):
        read_flickr30k(tmp_path / "packed")
    with pytest.raises(AnnotationError, match=r"can't be read \(No such file"):
        read_flickr30k(tmp_path / "none")
    (tmp_path / "latin").write_bytes(RESULTS.encode() + b"8.jpg| 0| caf\xe9\n")
    with pytest.raises(AnnotationError, match="is not UTF-8"):
        read_flickr30k(tmp_path / "latin")
