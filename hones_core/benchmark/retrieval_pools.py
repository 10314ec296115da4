"""Retrieval candidates: each query's positive caption and its hardest negatives (METHOD 1).

Paper 3: 2,000 query images, and for each the captions of 5,000 *other* images that are closest to
its positive caption. Every split builds the same from its own images.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.seeding import seeded_key, seeded_order
from hones_core.benchmark.splits import SPLIT_NAMES, used_records
from hones_core.schemas.benchmark import RETRIEVAL_POOLS

QUERY_BLOCK = 256  # queries per matrix product: 51 MB of cosines for 25,000 captions
COSINE_DECIMALS = 6  # float32 embeddings; finer differences are noise of the batch they came from


@dataclass(frozen=True)
class Mining:
    """How pools are mined.

    n_negatives        negatives of each query
    pool_fraction      share of a set's images whose captions are the pool
    distinct_captions  whether a text that several pool images share is one candidate (of the image
                       with the lowest id) or several
    seed               of the choice of queries and positives, and of the candidates' order
    """

    n_negatives: int = 49
    pool_fraction: float = 5 / 7
    distinct_captions: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n_negatives < 1 or not 0 < self.pool_fraction <= 1:
            raise ValueError(
                f"n_negatives {self.n_negatives} or pool_fraction {self.pool_fraction} is too small"
            )


def mine_retrieval_pools(
    records: pd.DataFrame,
    splits: pd.DataFrame,
    embeddings: pd.DataFrame,
    n_queries: Mapping[str, int],
    mining: Mining,
) -> pd.DataFrame:
    """Choose query images, positives and hardest negatives of every split, `n_queries[split]` each.

    `records`, `splits` and `embeddings` are frames of those schemas; returns RETRIEVAL_POOLS. See
    `mine_pool` for what is chosen and what is refused.
    """
    unknown = sorted(set(n_queries) - set(SPLIT_NAMES))
    if unknown:
        raise ValueError(f"n_queries names {unknown}; the splits are {', '.join(SPLIT_NAMES)}")
    used = used_records(records, splits)
    pools = []
    for split in SPLIT_NAMES:
        images = used[used["split"] == split]
        captions = dict(zip(images["image_id"], images["captions"], strict=True))
        if n_queries.get(split, 0):
            pools.append(mine_pool(captions, embeddings, split, n_queries[split], mining))
    if not pools:
        return pd.DataFrame([], columns=RETRIEVAL_POOLS.names)
    return pd.concat(pools, ignore_index=True)


def mine_pool(
    captions: Mapping[int, Sequence[str]],
    embeddings: pd.DataFrame,
    split: str,
    n_queries: int,
    mining: Mining,
) -> pd.DataFrame:
    """The queries of one set of images, `captions` by image id, with their candidates.

    The images are put in a seeded order: the first `n_queries` are queries, the last
    `round(pool_fraction * images)` give their captions to the pool. A text that is one of the
    query's own captions is dropped. Ties of the cosine go by caption text, then by image id.
    Candidates are in a seeded order that depends on their texts and images alone, so that the
    positive's place says nothing.

    Returns a frame of the schema RETRIEVAL_POOLS. Raises BenchmarkError, with the numbers, if there
    are too few images for disjoint queries and pool, or a query has too few captions for its
    negatives.
    """
    queries, others = _queries_and_others(list(captions), split, n_queries, mining)
    vectors = _Vectors.of(embeddings)
    pool = _Pool.of({image_id: captions[image_id] for image_id in others}, vectors, mining)
    positives = {
        image_id: _positive(image_id, captions[image_id], mining.seed) for image_id in queries
    }
    found = _hardest(positives, captions, pool, vectors, mining.n_negatives)
    rows: list[tuple] = []
    for image_id, negatives in zip(queries, found, strict=True):
        positive = (positives[image_id], True, image_id, 1.0)
        rows += _candidate_rows(image_id, split, [positive, *negatives], mining.seed)
    return pd.DataFrame(rows, columns=RETRIEVAL_POOLS.names)


@dataclass(frozen=True)
class _Vectors:
    """The embeddings: a row of `matrix` (float64) per caption."""

    rows: dict[str, int]
    matrix: np.ndarray

    @classmethod
    def of(cls, embeddings: pd.DataFrame) -> "_Vectors":
        captions = embeddings["caption"].tolist()
        matrix = np.stack(embeddings["embedding"].to_numpy()).astype(np.float64)
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
    """The pool's captions in the order of their texts, with the image of each."""

    captions: list[str]
    image_ids: list[int]
    places: dict[str, list[int]]
    matrix: np.ndarray

    @classmethod
    def of(
        cls, captions: Mapping[int, Sequence[str]], vectors: _Vectors, mining: Mining
    ) -> "_Pool":
        pairs = sorted({(text, image_id) for image_id in captions for text in captions[image_id]})
        if mining.distinct_captions:
            first = dict(reversed(pairs))  # of equal texts the one of the lowest image id stays
            pairs = sorted(first.items())
        places: dict[str, list[int]] = {}
        for place, (text, _) in enumerate(pairs):
            places.setdefault(text, []).append(place)
        texts = [text for text, _ in pairs]
        return cls(texts, [image_id for _, image_id in pairs], places, vectors[texts])


def _queries_and_others(
    image_ids: list[int], split: str, n_queries: int, mining: Mining
) -> tuple[list[int], list[int]]:
    """The query images of a split (in id order) and the images whose captions are the pool."""
    n_pool = round(mining.pool_fraction * len(image_ids))
    if n_queries + n_pool > len(image_ids):
        raise BenchmarkError(
            f"split {split!r} has {len(image_ids)} images, too few for {n_queries} query images "
            f"and a pool of {n_pool} others (pool_fraction {mining.pool_fraction:.3f}); ask for at "
            f"most {len(image_ids) - n_pool} queries or lower pool_fraction"
        )
    ordered = seeded_order(image_ids, mining.seed, "retrieval query")
    return sorted(ordered[:n_queries]), ordered[len(ordered) - n_pool :]


def _positive(image_id: int, captions: Sequence[str], seed: int) -> str:
    """One of the image's captions at random."""
    places = range(len(captions))
    return captions[min(places, key=lambda place: seeded_key(seed, "positive", image_id, place))]


def _hardest(
    positives: dict[int, str],
    captions: Mapping[int, Sequence[str]],
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
            own = {place for text in captions[image_id] for place in pool.places.get(text, [])}
            row[list(own)] = -np.inf
            if len(row) - len(own) < n_negatives:
                raise BenchmarkError(
                    f"image {image_id}: the pool has {len(row) - len(own)} captions that "
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
    ordered = sorted(
        candidates, key=lambda c: (seeded_key(seed, "candidate", image_id, c[0]), c[2])
    )
    return [(image_id, place, split, *candidate) for place, candidate in enumerate(ordered)]
