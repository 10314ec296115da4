"""Retrieval candidates: each query's positive caption and its hardest negatives (METHOD 1).

Paper 3: 2,000 query images, and for each the captions of 5,000 *other* images that are closest to
its positive caption. Every split builds the same from its own images.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.seeding import seeded_key, seeded_order
from hones_core.benchmark.splits import SPLIT_NAMES, used_records
from hones_core.schemas.benchmark import RETRIEVAL_POOLS

QUERY_BLOCK = 256  # queries per matrix product: 51 MB of cosines for 25,000 captions
COSINE_DECIMALS = 6  # float32 embeddings; finer differences are noise of the batch they came from


def mine_retrieval_pools(
    records: pd.DataFrame,
    splits: pd.DataFrame,
    embeddings: pd.DataFrame,
    n_queries: Mapping[str, int],
    n_negatives: int = 49,
    pool_fraction: float = 5 / 7,
    seed: int = 0,
) -> pd.DataFrame:
    """Choose query images, positives and the `n_negatives` hardest negatives of every split.

    In each split the images are put in a seeded order: the first `n_queries[split]` are queries,
    the last `round(pool_fraction * images of the split)` give their captions to the pool. Equal
    texts count once; a text that is one of the query's own captions is dropped. Ties of the cosine
    go by caption text. Candidates are in a seeded order that depends on their texts alone, so that
    the positive's place says nothing.

    `records`, `splits` and `embeddings` are frames of those schemas; returns RETRIEVAL_POOLS.
    Raises BenchmarkError, with the numbers, if a split has too few images for disjoint queries and
    pool, or a query too few distinct captions for its negatives.
    """
    unknown = sorted(set(n_queries) - set(SPLIT_NAMES))
    if unknown:
        raise ValueError(f"n_queries names {unknown}; the splits are {', '.join(SPLIT_NAMES)}")
    if n_negatives < 1 or not 0 < pool_fraction <= 1:
        raise ValueError(f"n_negatives {n_negatives} or pool_fraction {pool_fraction} is too small")
    used = used_records(records, splits)
    vectors = _Vectors.of(embeddings)
    rows: list[tuple] = []
    for split in SPLIT_NAMES:
        images = used[used["split"] == split]
        captions = dict(zip(images["image_id"], images["captions"], strict=True))
        count = n_queries.get(split, 0)
        queries, others = _queries_and_others(list(captions), split, count, pool_fraction, seed)
        pool = _Pool.of({image_id: captions[image_id] for image_id in others}, vectors)
        positives = {
            image_id: _positive(image_id, captions[image_id], seed) for image_id in queries
        }
        found = _hardest(positives, captions, pool, vectors, n_negatives)
        for image_id, negatives in zip(queries, found, strict=True):
            positive = (positives[image_id], True, image_id, 1.0)
            rows += _candidate_rows(image_id, split, [positive, *negatives], seed)
    return pd.DataFrame(rows, columns=RETRIEVAL_POOLS.names)


@dataclass(frozen=True)
class _Vectors:
    """The embeddings: a row of `matrix` (float64) per caption."""

    rows: dict[str, int]
    matrix: np.ndarray

    @classmethod
    def of(cls, embeddings: pd.DataFrame) -> "_Vectors":
        captions = embeddings["caption"].tolist()
        matrix = np.array(embeddings["embedding"].tolist(), dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise BenchmarkError(
                "caption embeddings hold NaN or infinity; embed the captions again"
            )
        return cls({caption: row for row, caption in enumerate(captions)}, matrix)

    def __getitem__(self, captions: list[str]) -> np.ndarray:
        missing = [caption for caption in captions if caption not in self.rows]
        if missing:
            raise BenchmarkError(
                f"{len(missing)} captions have no embedding, such as {missing[0]!r}; "
                "embed the captions of these records again"
            )
        return self.matrix[[self.rows[caption] for caption in captions]]


@dataclass(frozen=True)
class _Pool:
    """Distinct captions in the order of their texts, with the lowest image id of each."""

    captions: list[str]
    image_ids: list[int]
    places: dict[str, int]
    matrix: np.ndarray

    @classmethod
    def of(cls, captions: dict[int, list[str]], vectors: _Vectors) -> "_Pool":
        source: dict[str, int] = {}
        for image_id in sorted(captions):
            for caption in captions[image_id]:
                source.setdefault(caption, image_id)
        texts = sorted(source)
        places = {text: place for place, text in enumerate(texts)}
        return cls(texts, [source[text] for text in texts], places, vectors[texts])


def _queries_and_others(
    image_ids: list[int], split: str, n_queries: int, pool_fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """The query images of a split (in id order) and the images whose captions are the pool."""
    if n_queries == 0:
        return [], []
    n_pool = round(pool_fraction * len(image_ids))
    if n_queries + n_pool > len(image_ids):
        raise BenchmarkError(
            f"split {split!r} has {len(image_ids)} images, too few for {n_queries} query images "
            f"and a pool of {n_pool} others (pool_fraction {pool_fraction:.3f}); ask for at most "
            f"{len(image_ids) - n_pool} queries or lower pool_fraction"
        )
    ordered = seeded_order(image_ids, seed, "retrieval query")
    return sorted(ordered[:n_queries]), ordered[len(ordered) - n_pool :]


def _positive(image_id: int, captions: list[str], seed: int) -> str:
    """One of the image's captions at random."""
    places = range(len(captions))
    return captions[min(places, key=lambda place: seeded_key(seed, "positive", image_id, place))]


def _hardest(
    positives: dict[int, str],
    captions: dict[int, list[str]],
    pool: _Pool,
    vectors: _Vectors,
    n_negatives: int,
) -> Iterator[list[tuple]]:
    """For each query the pool captions closest to its positive: (caption, False, image, cosine)."""
    queries = list(positives)
    for start in range(0, len(queries), QUERY_BLOCK):
        block = queries[start : start + QUERY_BLOCK]
        embedded = vectors[[positives[image_id] for image_id in block]]
        cosines = np.round(embedded @ pool.matrix.T, COSINE_DECIMALS)
        for image_id, row in zip(block, cosines, strict=True):
            own = {pool.places[text] for text in captions[image_id] if text in pool.places}
            row[list(own)] = -np.inf
            if len(row) - len(own) < n_negatives:
                raise BenchmarkError(
                    f"image {image_id}: the pool has {len(row) - len(own)} distinct captions that "
                    f"are not its own, fewer than the {n_negatives} negatives asked for; lower the "
                    "number of negatives or use more images"
                )
            chosen = _largest(row, n_negatives)
            yield [(pool.captions[p], False, pool.image_ids[p], row[p]) for p in chosen]


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """Places of the `count` largest values, largest first, ties by place."""
    threshold = np.partition(values, -count)[-count]
    places = np.flatnonzero(values >= threshold)
    return places[np.lexsort((places, -values[places]))][:count]


def _candidate_rows(image_id: int, split: str, candidates: list[tuple], seed: int) -> list[tuple]:
    ordered = sorted(candidates, key=lambda c: seeded_key(seed, "candidate", image_id, c[0]))
    return [(image_id, place, split, *candidate) for place, candidate in enumerate(ordered)]
