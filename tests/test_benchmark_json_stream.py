"""Reading record by record gives what reading the whole file gives, wherever the pieces end."""

import json
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hones_core.benchmark import json_stream
from hones_core.benchmark.errors import AnnotationError
from hones_core.benchmark.json_stream import records, top_level_records

TEXT = st.text(max_size=6)
LEAF = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
RECORD = st.dictionaries(TEXT, LEAF | st.lists(LEAF, max_size=3), max_size=3)
FILE = st.fixed_dictionaries(
    {"listed": st.lists(RECORD, max_size=4), "keyed": st.dictionaries(TEXT, RECORD, max_size=4)},
    optional={"version": LEAF, "info": RECORD, "other": st.lists(LEAF, max_size=3)},
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.json"


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    content=FILE,
    chunk=st.integers(1, 9),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
)
def test_equals_the_whole_file(path, monkeypatch, content, chunk, ascii_only, indent):
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    path.write_text(json.dumps(content, ensure_ascii=ascii_only, indent=indent), encoding="utf-8")
    listed = [(place.key, entry) for place, entry in records(path, "listed", list)]
    assert listed == list(enumerate(content["listed"]))
    keyed = [(place.key, entry) for place, entry in records(path, "keyed", dict)]
    assert keyed == list(content["keyed"].items())
    path.write_text(json.dumps(content["keyed"], ensure_ascii=ascii_only, indent=indent))
    whole = [(place.key, entry) for place, entry in top_level_records(path)]
    assert whole == list(content["keyed"].items())


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=FILE, chunk=st.integers(1, 9), cut=st.floats(0, 1, exclude_max=True))
def test_every_truncation_is_noticed(path, monkeypatch, content, chunk, cut):
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", chunk)
    whole = json.dumps(content).encode()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(AnnotationError, match=r"not valid JSON.*download the official file again"):
        list(records(path, "listed", list))


@pytest.mark.parametrize(
    "content",
    ['{"a": [{}{}]}', '{"a": [{}, ]}', '{"a" [{}]}', '{"a": [{}],}', "{a: []}", '{"a": [{"b"}]}'],
)
def test_invalid_json_is_refused_as_by_the_standard_parser(path, content):
    with pytest.raises(ValueError, match=r"."):
        json.loads(content)
    path.write_text(content)
    with pytest.raises(AnnotationError, match="not valid JSON"):
        list(records(path, "a", list))


def test_a_quotation_mark_that_is_never_closed_does_not_eat_the_memory(path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr(json_stream, "MAX_RECORD_CHARACTERS", 1 << 14)
    path.write_bytes(b'{"a": [{"b": "' + b"x" * 10_000_000)
    tracemalloc.start()
    with pytest.raises(AnnotationError, match="not valid JSON"):
        list(records(path, "a", list))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_memory_is_bounded_by_the_record_not_the_file(path, monkeypatch):
    monkeypatch.setattr(json_stream, "CHUNK_BYTES", 1 << 14)
    path.write_text(json.dumps({"a": [{"id": i, "text": "x" * 100} for i in range(30_000)]}))
    tracemalloc.start()
    assert sum(1 for _ in records(path, "a", list)) == 30_000
    assert tracemalloc.get_traced_memory()[1] < 500_000
    tracemalloc.stop()


def test_a_byte_order_mark_is_passed(path):
    path.write_bytes(b"\xef\xbb\xbf" + b'{"a": []}')
    assert list(records(path, "a", list)) == []
