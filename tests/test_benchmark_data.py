"""The data check and the download of the official archives."""

import functools
import hashlib
import http.server
import json
import os
import threading
import zipfile
from pathlib import Path

import pytest
from benchmark_support import official, write
from PIL import Image
from workflow_support import ROOT

from hones_core.benchmark import download
from hones_core.benchmark.data_check import check_coco, check_ood, table
from hones_core.benchmark.download import Archive, download_all, fetch, unpack
from hones_core.benchmark.errors import BenchmarkError
from hones_core.schemas.benchmark_tables import DATA_CHECK
from hones_core.tables.plain import write_plain_table
from hones_core.tasks.ood_sets import OOD_SETS, sets_in_run


@pytest.fixture
def data(tmp_path):
    """The section `data` of a small complete study."""
    paths = write(tmp_path / "annotations", official([1, 2, 3]))
    folder = tmp_path / "images"
    folder.mkdir()
    for image_id in (1, 2, 3):
        Image.new("RGB", (64, 48)).save(folder / f"COCO_train2014_{image_id:012d}.jpg")
    return {**{kind: str(path) for kind, path in paths.items()}, "image_folder": str(folder)}


def problems(rows):
    return [(row.data, row.check) for row in rows if row.status == "problem"]


def test_complete_data_have_no_problem(data, tmp_path):
    rows = check_coco(data)
    assert problems(rows) == []
    assert {row.data for row in rows} == {*data, "all sources"}
    found = {(row.data, row.check): row for row in rows}
    assert found["captions", "number of captions"].found == "15"
    assert found["captions", "number of captions"].expected == "official: 414,113"
    assert found["captions", "number of captions"].status == "note"
    assert found["image_folder", "images needed"].found == "3"
    write_plain_table(table(rows), DATA_CHECK, tmp_path / "check")


def test_all_that_is_wrong_is_in_one_table(data, tmp_path):
    images = tmp_path / "images"
    (images / "COCO_train2014_000000000002.jpg").unlink()
    rows = check_coco(data)
    assert problems(rows) == [("image_folder", "images needed")]
    assert "1 are missing, such as COCO_train2014_000000000002.jpg" in rows[-1].found
    questions = tmp_path / "annotations" / "v2_OpenEnded_mscoco_train2014_questions.json"
    questions.write_bytes(questions.read_bytes()[:-20])
    data["coco_text"] = str(tmp_path / "none.json")
    data["image_folder"] = str(tmp_path / "nowhere")
    assert problems(check_coco(data)) == [
        ("coco_text", "file"),
        ("vqa_questions", "file"),
        ("image_folder", "folder"),
    ]


def test_files_about_other_images_are_noticed(data, tmp_path):
    other = write(tmp_path / "other", official([7]))
    data["vqa_questions"] = str(other["vqa_questions"])
    assert problems(check_coco(data)) == [
        ("vqa_annotations", "images with questions that have answers"),
        ("all sources", "images in captions, COCO-Text and VQA"),
    ]


def test_the_folder_is_listed_once(data, monkeypatch):
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or scandir(path))
    check_coco(data)
    assert len(listed) == 1


def test_other_data_sets_are_checked_if_they_are_there(tmp_path):
    entry = {"question": "Is it?", "imageId": "5", "answer": "yes", "isBalanced": True}
    (tmp_path / "gqa.json").write_text(json.dumps({"1": entry}))
    ood = {
        "gqa": {"questions": str(tmp_path / "gqa.json"), "image_folder": str(tmp_path)},
        "flickr30k": {"captions": str(tmp_path / "none"), "image_folder": "x", "split": None},
    }
    rows = check_ood(ood, ["gqa"])
    assert problems(rows) == [("gqa.image_folder", "images needed")]
    assert [row.status for row in rows if row.data == "flickr30k.captions"] == ["note"]


def test_a_data_set_that_the_default_target_reads_must_be_there():
    ood = {
        "textvqa": {"questions": "nowhere.json", "image_folder": "x"},
        "flickr30k": {"captions": "none", "image_folder": "x", "split": None},
    }
    masked_on = ["flickr30k_caption", "flickr30k_retrieval"]
    rows = check_ood(ood, masked_on)
    assert problems(rows) == [("flickr30k.captions", "file")]
    assert f"or leave {' and '.join(masked_on)} out of groups.ood_sets" in rows[1].found
    assert rows[0].status == "note" and "out of" not in rows[0].found


def test_sets_of_tasks_that_are_not_run_are_not_asked_for():
    assert sets_in_run(OOD_SETS, ["vqa", "caption"]) == ["gqa", "flickr30k_caption"]
    assert sets_in_run(["textvqa", "gqa"], ["vqa"]) == ["gqa"]


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Serves files, and ranges of them as the publishers' servers do."""

    ranges = True
    asked: list = []  # noqa: RUF012 - shared on purpose

    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        self.asked.append(asked)
        content = (Path(self.directory) / self.path.strip("/")).read_bytes()
        if asked and self.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            content = content[start:]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture
def server(tmp_path):
    """(folder that is served, its address)"""
    folder = tmp_path / "served"
    folder.mkdir()
    _Handler.ranges, _Handler.asked = True, []
    handler = functools.partial(_Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def archive(folder, name, members):
    with zipfile.ZipFile(folder / name, "w") as file:
        for member, content in members.items():
            file.writestr(member, content)
    return hashlib.md5((folder / name).read_bytes()).hexdigest()


def test_download_checks_unpacks_and_locks(server, tmp_path):
    folder, url = server
    md5 = archive(folder, "a.zip", {"annotations/a.json": "{}", "annotations/b.json": "[]"})
    archive(folder, "b.zip", {"c.json": "1"})
    archives = [
        Archive(f"{url}/a.zip", f"md5:{md5}", "", ("annotations/a.json",)),
        Archive(f"{url}/b.zip", "", "annotations", ()),
    ]
    said = []
    download_all(archives, tmp_path / "coco", said.append)
    unpacked = tmp_path / "coco" / "annotations"
    assert sorted(path.name for path in unpacked.iterdir()) == ["a.json", "c.json"]
    lock = json.loads((tmp_path / "coco" / "downloads" / download.LOCK).read_text())
    assert lock["a.zip"]["md5"] == md5 and len(lock["b.zip"]["sha256"]) == 64
    download_all(archives, tmp_path / "coco", said.append)  # nothing is fetched again
    assert len(_Handler.asked) == 2
    (tmp_path / "coco" / "downloads" / "b.zip").unlink()
    archive(folder, "b.zip", {"c.json": "2"})
    with pytest.raises(BenchmarkError, match=r"b.zip has the sha256 .*, not "):
        download_all(archives, tmp_path / "coco", said.append)


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("part", [0, 400, 1000])
def test_a_download_goes_on_where_it_stopped(server, tmp_path, ranges, part):
    folder, url = server
    _Handler.ranges = ranges
    content = bytes(range(250)) * 4
    (folder / "file").write_bytes(content)
    (tmp_path / "file.partial").write_bytes(content[:part])
    fetch(f"{url}/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content
    assert not (tmp_path / "file.partial").exists()
    assert _Handler.asked == ([f"bytes={part}-"] if part else [None])


def test_a_failed_download_says_so(server, tmp_path):
    folder, url = server
    archive(folder, "a.zip", {"a": "1"})
    with pytest.raises(BenchmarkError, match="has the md5"):
        download_all([Archive(f"{url}/a.zip", "md5:00", "", ())], tmp_path / "coco", print)
    with pytest.raises(BenchmarkError, match="run again to go on from here"):
        fetch("http://127.0.0.1:9/none", tmp_path / "none")


def test_archives_stay_inside_their_folder(tmp_path):
    archive(tmp_path, "bad.zip", {"../outside.txt": "x"})
    with pytest.raises(BenchmarkError, match=r"'../outside.txt' leaves"):
        unpack(tmp_path / "bad.zip", tmp_path / "inner")
    assert not (tmp_path / "outside.txt").exists()
    archive(tmp_path, "good.zip", {"a": "x"})
    with pytest.raises(BenchmarkError, match="does not hold b"):
        unpack(tmp_path / "good.zip", tmp_path / "inner", ["b"])
    (tmp_path / "cut.zip").write_bytes((tmp_path / "good.zip").read_bytes()[:50])
    with pytest.raises(BenchmarkError, match="is no whole archive"):
        unpack(tmp_path / "cut.zip", tmp_path / "inner")


def test_the_list_of_archives_gives_the_paths_of_the_real_study():
    listed = (ROOT / "resources" / "data" / "coco_archives.csv").read_text()
    paper = (ROOT / "configs" / "paper.yaml").read_text()
    for name in ("captions_train2014.json", "cocotext.v2.json", "train2014_annotations.json"):
        assert name in listed and name in paper
