"""Parts of long jobs: given back whole and to the job that kept them, or not at all."""

import os
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from hones_core.measuring import chunks_to_sum
from hones_core.partial import Parts, fingerprint, input_state

TABLE = pa.table({"number": [0.1, float("nan"), -0.0], "text": ["a", "ü\0", ""]})
KEY = {"cfg": {"z": 3, "a": [1, 2]}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "effects.partial"


def test_a_part_comes_back_as_it_was(folder):
    Parts(folder, KEY).save("00000", ["i1", "i2"], TABLE)
    again = Parts(folder, {"cfg": {"a": [1, 2], "z": 3}}).load("00000", ["i1", "i2"])
    assert str(again.to_pylist()) == str(TABLE.to_pylist())
    assert again.schema == TABLE.schema


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    parts = Parts()
    parts.save("00000", [], TABLE)
    assert parts.load("00000", []) is None
    parts.drop("00000")
    parts.remove()
    assert list(tmp_path.iterdir()) == []


def test_another_job_gets_nothing_and_is_told_once(folder, capsys):
    Parts(folder, KEY).save("00000", [], TABLE)
    assert capsys.readouterr().err == ""
    for other in ({"cfg": {"z": 2, "a": [1, 2]}}, None, {"cfg": {"z": 3, "a": [2, 1]}}):
        parts = Parts(folder, other)
        assert "which are not used" in capsys.readouterr().err
        assert parts.load("00000", []) is None
    assert Parts(folder, KEY).load("00000", []) is not None


def test_other_instances_get_nothing(folder, capsys):
    parts = Parts(folder, KEY)
    parts.save("00000", ["i1", "i2"], TABLE)
    assert parts.load("00001", ["i1", "i2"]) is None  # not there, nothing to say
    assert capsys.readouterr().err == ""
    assert parts.load("00000", ["i2", "i1"]) is None
    assert "made again" in capsys.readouterr().err


def test_a_part_under_another_name_is_not_taken(folder):
    parts = Parts(folder, KEY)
    parts.save("00000", [], TABLE)
    place = next(folder.rglob("00000.part"))
    place.rename(place.with_name("00001.part"))
    assert parts.load("00001", []) is None


@pytest.mark.parametrize("damage", ["empty", "cut", "byte", "digest"])
def test_a_damaged_part_is_not_taken(folder, capsys, damage):
    parts = Parts(folder, KEY)
    parts.save("00000", [], TABLE)
    place = next(folder.rglob("00000.part"))
    content = bytearray(place.read_bytes())
    if damage == "byte":
        content[len(content) // 2] ^= 1
    elif damage == "digest":
        content[0] ^= 1
    place.write_bytes(content[: {"empty": 0, "cut": -1}.get(damage, len(content))])
    assert parts.load("00000", []) is None
    assert f"{place} is damaged" in capsys.readouterr().err
    parts.save("00000", [], TABLE)
    assert parts.load("00000", []) is not None


def test_nothing_is_left_over(folder):
    Parts(folder, "an earlier job").save("00000", [], TABLE)
    parts = Parts(folder, KEY)
    parts.save("00000", [], TABLE)
    parts.drop("00000")
    assert parts.load("00000", []) is None
    parts.remove()
    parts.remove()
    assert not folder.exists()


def test_the_state_of_an_input(tmp_path, monkeypatch):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    before = input_state(file)
    os.utime(file, (1, 1))
    assert input_state(file) == before  # the content counts
    file.write_bytes(b"abd")
    assert input_state(file) != before
    monkeypatch.setattr("hones_core.partial.LARGEST_READ", 2)
    states = set()
    for time in (1, 2):
        os.utime(file, (time, time))
        states |= {input_state(file), input_state(file)}
    assert len(states) == 2
    with pytest.raises(FileNotFoundError):
        input_state(tmp_path / "nothing")


def test_the_state_of_a_folder(tmp_path):
    images = tmp_path / "images"
    (images / "0").mkdir(parents=True)
    (images / "0" / "a.png").write_bytes(b"a")
    states = [input_state(images)]
    (images / "0" / "b.png").write_bytes(b"b")
    states.append(input_state(images))
    (images / "0" / "b.png").write_bytes(b"bb")
    states.append(input_state(images))
    assert len(set(states)) == 3
    assert input_state(images) == states[-1]


def test_fingerprints_do_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1, 2]}) == fingerprint({"b": [1, 2], "a": 1})
    assert fingerprint([1, 2]) != fingerprint([2, 1])


def test_pieces_of_a_job_keep_their_parts_apart(tmp_path):
    parts = Parts(tmp_path / "job.partial", "key")
    table = pa.table({"x": [1]})
    parts.within("development").save("00000", "a", table)
    assert parts.within("test").load("00000", "a") is None
    assert parts.within("development").load("00000", "a") == table
    assert Parts(tmp_path / "job.partial", "other").within("development").load("00000", "a") is None
    parts.remove()
    assert not (tmp_path / "job.partial").exists()
    Parts().within("development").save("00000", "a", table)  # nothing is kept without a folder


@pytest.mark.parametrize(
    ("took", "expected"),
    [
        (0.5, [2, 4, 6, 8, 10, 12, 14, 16, 18, 20]),  # after 60 s
        (12.0, [2, 10, 18]),  # 12 s in every 252 s, where 20 times 12 s lie between two saves
    ],
)
def test_sums_are_kept_more_seldom_the_longer_it_takes(tmp_path, monkeypatch, took, expected):
    """A clock that only the chunks, of 30 s each, and the saves advance."""
    now, saved = 0.0, []
    monkeypatch.setattr("hones_core.measuring.time", SimpleNamespace(monotonic=lambda: now))

    class Slow(Parts):
        def save(self, name, key, table):
            nonlocal now
            now += took
            saved.append(name)
            super().save(name, key, table)

    chunks = [[SimpleNamespace(instance_id=f"i{index}")] for index in range(20)]
    sums = {(0, 0): np.zeros(3)}
    for _ in chunks_to_sum(chunks, sums, "neurons", Slow(tmp_path / "sums.partial", KEY)):
        sums[0, 0] += 1
        now += 30
    assert saved == [f"sums_{count:05d}" for count in expected]
    again = {(0, 0): np.zeros(3)}
    parts = Parts(tmp_path / "sums.partial", KEY)
    left = list(chunks_to_sum(chunks, again, "neurons", parts))
    assert len(left) == 20 - expected[-1] and again[0, 0].tolist() == [expected[-1]] * 3
