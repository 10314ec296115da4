"""What the benchmark was made of: the funnel, the text boxes' sizes, suspicious negatives."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from hones_core.benchmark.selection import REASONS
from hones_core.benchmark.splits import SPLIT_NAMES, UNUSED, used_images
from hones_core.schemas.benchmark_tables import (
    BENCHMARK_FUNNEL,
    BOX_SIZES,
    RETRIEVAL_FALSE_NEGATIVES,
)

USABLE = "usable"
_SOURCES = ("in_captions", "in_coco_text", "in_vqa")
_NO_WORD = re.compile(r"[\W_]+")


def benchmark_funnel(
    records: pd.DataFrame, excluded: pd.DataFrame, splits: pd.DataFrame
) -> pd.DataFrame:
    """Images of each source, left at each step, excluded for each reason, in each split.

    Takes frames of the schemas RECORDS, EXCLUDED and SPLITS, returns BENCHMARK_FUNNEL.
    """
    total = len(records) + len(excluded)
    in_all = len(records) + int(excluded[list(_SOURCES)].all(axis=1).sum())
    rows = [("source", "any", total)]
    rows += [("source", name[3:], len(records) + int(excluded[name].sum())) for name in _SOURCES]
    rows += [
        ("remaining", "in all three sources", in_all),
        ("remaining", "with complete annotations", len(records)),
        ("remaining", "selected for a split", len(used_images(splits))),
    ]
    reasons = excluded["reason"].value_counts()
    rows += [("excluded", reason, int(reasons[reason])) for reason in REASONS if reason in reasons]
    sizes = splits["split"].value_counts()
    rows += [("split", split, int(sizes.get(split, 0))) for split in (*SPLIT_NAMES, UNUSED)]
    frame = pd.DataFrame(rows, columns=["kind", "what", "n_images"])
    frame["step"] = range(len(frame))
    frame["share"] = _percent(frame["n_images"].to_numpy(), total)
    return frame[BENCHMARK_FUNNEL.names]


def box_sizes(records: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """Heights of the text boxes of all usable images and of each split; returns BOX_SIZES."""
    split_of = records["image_id"].map(splits.set_index("image_id")["split"])
    rows = [_box_row(USABLE, records)]
    rows += [_box_row(split, records[split_of == split]) for split in SPLIT_NAMES]
    return pd.DataFrame(rows, columns=BOX_SIZES.names)


def _box_row(split: str, records: pd.DataFrame) -> tuple:
    heights = records["box_h"].to_numpy()
    n, under_8, under_12 = len(heights), int((heights < 8).sum()), int((heights < 12).sum())
    shares = (under_8, _percent(under_8, n), under_12, _percent(under_12, n))
    median = float(np.median(heights)) if n else 0.0
    return (split, n, int(records["box_clamped"].sum()), *shares, median)


def false_negatives(
    pools: pd.DataFrame, captions: dict[int, list[str]], embeddings: pd.DataFrame
) -> pd.DataFrame:
    """How close the negatives of each split are; returns RETRIEVAL_FALSE_NEGATIVES.

    `pools` and `embeddings` are frames of the schemas RETRIEVAL_POOLS and CAPTION_EMBEDDINGS;
    `captions` are all captions of each query image. An image's other captions ("siblings") are
    known to be true of it: a negative closer to the positive than their median may be, too.
    """
    vectors = dict(zip(embeddings["caption"], embeddings["embedding"], strict=True))
    queries = pd.DataFrame(list(_queries(pools, captions, vectors)))
    rows: list[dict] = []
    groups = dict(iter(queries.groupby("split")))
    for split in dict.fromkeys(name for name in (*SPLIT_NAMES, *groups) if name in groups):
        group = groups[split]
        counts = group.drop(columns=["split", "distinct_images"]).sum()
        rows.append(
            {
                "split": split,
                "n_queries": len(group),
                **counts,
                **{
                    name: _percent(counts[f"n_{name}"], counts["n_negatives"])
                    for name in ("cosine_90", "cosine_95", "closer_than_sibling")
                },
                "distinct_images": group["distinct_images"].mean(),
            }
        )
    return pd.DataFrame(rows, columns=RETRIEVAL_FALSE_NEGATIVES.names)


def _queries(
    pools: pd.DataFrame, captions: dict[int, list[str]], vectors: dict[str, np.ndarray]
) -> Iterator[dict]:
    """The counts of each query, split by split as they come."""
    for image_id, pool in pools.groupby("image_id", sort=False):
        chosen = pool["is_positive"].to_numpy()
        positive, negatives = pool["caption"][chosen].item(), pool[~chosen]
        cosines = negatives["cosine"].to_numpy()
        siblings = [vectors[text] for text in captions[image_id] if text != positive]
        # Of an image with five equal captions every negative is farther than its siblings.
        cosines_of_siblings = np.array(siblings) @ vectors[positive] if siblings else [1.0]
        texts = negatives["caption"]
        plain = texts.map(_plain)
        yield {
            "split": pool["split"].iloc[0],
            "n_negatives": len(negatives),
            "n_cosine_90": int((cosines >= 0.90).sum()),
            "n_cosine_95": int((cosines >= 0.95).sum()),
            "n_closer_than_sibling": int((cosines > np.median(cosines_of_siblings)).sum()),
            "distinct_images": negatives["caption_image_id"].nunique(),
            "n_duplicates": int(texts.duplicated().sum()),
            "n_near_duplicates": int((plain.duplicated() | (plain == _plain(positive))).sum()),
        }


def _plain(text: str) -> str:
    return _NO_WORD.sub(" ", text.lower()).strip()


def _percent(part: Any, whole: int) -> Any:
    """`part` of `whole` in percent, rounded for reading; 0 of nothing."""
    return np.round(100 * part / whole, 4) if whole else 0.0 * part
