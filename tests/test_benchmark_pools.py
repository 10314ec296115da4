"""Retrieval candidates against a direct transcription of METHOD 1, and the task instances."""

import numpy as np
import pandas as pd
import pytest
from benchmark_support import official, records_of
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core import artifacts
from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.instance_objects import to_instances
from hones_core.benchmark.instances import build_instances
from hones_core.benchmark.retrieval_pools import Mining, mine_pool, mine_retrieval_pools
from hones_core.benchmark.splits import build_splits
from hones_core.schemas.benchmark import INSTANCES, RETRIEVAL_POOLS

N_QUERIES = {"discovery": 8, "development": 2, "test": 3}
SIZES = (30, 8, 12)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    data = official(range(1, 53))
    captions = data["captions"]["annotations"]
    for entry in captions:  # texts that several images share
        if entry["id"] % 7 == 0:
            entry["caption"] = f"shared caption {entry['id'] % 9}"
    return records_of(tmp_path_factory.mktemp("files"), data)[0]


@pytest.fixture(scope="module")
def splits(records):
    return build_splits(records["image_id"], *SIZES, seed=5)


def embedded(records, seed=0, dimensions=6):
    """Random unit vectors for all captions; every third is that of its neighbour, for ties."""
    texts = sorted({text for captions in records["captions"] for text in captions})
    vectors = np.random.default_rng(seed).normal(size=(len(texts), dimensions))
    vectors[2::3] = vectors[1::3][: len(vectors[2::3])]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return pd.DataFrame({"caption": texts, "embedding": list(vectors.astype(np.float32))})


def mine(records, splits, **changes):
    options = {"n_queries": N_QUERIES, "n_negatives": 12, "pool_fraction": 0.6, "seed": 1}
    options = {**options, **changes}
    n_queries = options.pop("n_queries")
    return mine_retrieval_pools(records, splits, embedded(records), n_queries, Mining(**options))


@pytest.fixture(scope="module")
def pools(records, splits):
    return mine(records, splits)


def oracle(records, positive, image_id, pool_images, n_negatives):
    """The negatives of one query, hardest first, computed one by one: (text, image, cosine)."""
    vectors = dict(embedded(records).itertuples(index=False))
    captions = dict(zip(records["image_id"], records["captions"], strict=True))
    source = {}
    for other in sorted(pool_images):
        for text in captions[other]:
            source.setdefault(text, other)
    scored = []
    for text in set(source) - set(captions[image_id]):
        cosine = float(np.dot(vectors[positive].astype(float), vectors[text].astype(float)))
        scored.append((-round(cosine, 6), text, source[text]))
    return [(text, other, -cosine) for cosine, text, other in sorted(scored)[:n_negatives]]


def test_pools_equal_the_oracle(records, splits):
    # pools that take every image which is no query are known without asking the code
    n_queries = {"discovery": 12, "test": 5}  # of 30 and 12 images: the pools have 18 and 7
    pools = mine(records, splits, n_queries=n_queries)
    for (split, image_id), group in pools.groupby(["split", "image_id"]):
        members = set(splits[splits["split"] == split]["image_id"])
        positive = group[group["is_positive"]]["caption"].item()
        expected = oracle(records, positive, image_id, members - set(pools["image_id"]), 12)
        negatives = group[~group["is_positive"]]
        negatives = negatives.sort_values(["cosine", "caption"], ascending=[False, True])
        found = negatives[["caption", "caption_image_id", "cosine"]]
        assert list(found.itertuples(index=False, name=None)) == expected


def test_every_query_has_one_positive_of_its_own(records, pools):
    captions = dict(zip(records["image_id"], records["captions"], strict=True))
    counts = pools.groupby("split")["image_id"].nunique()
    assert counts.to_dict() == N_QUERIES
    for image_id, group in pools.groupby("image_id"):
        assert sorted(group["candidate"]) == list(range(13))
        assert group["caption"].is_unique
        positive = group[group["is_positive"]]
        assert positive["caption"].item() in captions[image_id]
        assert positive["caption_image_id"].item() == image_id
        assert positive["cosine"].item() == 1.0
        assert not set(group[~group["is_positive"]]["caption"]) & set(captions[image_id])


def test_pools_are_inside_their_split_and_apart_from_the_queries(splits, pools):
    split_of = splits.set_index("image_id")["split"]
    queries = set(pools["image_id"])
    negatives = pools[~pools["is_positive"]]
    assert (split_of[pools["image_id"]].to_numpy() == pools["split"].to_numpy()).all()
    assert (split_of[negatives["caption_image_id"]].to_numpy() == negatives["split"]).all()
    assert not set(negatives["caption_image_id"]) & queries


def test_order_and_other_records_do_not_matter(records, splits, pools):
    again = mine(
        records.sample(frac=1, random_state=2), splits.sample(frac=1, random_state=3), seed=1
    )
    pd.testing.assert_frame_equal(again, pools)


def test_the_seed_changes_queries_positives_and_places(records, splits, pools):
    other = mine(records, splits, seed=2)
    assert set(other["image_id"]) != set(pools["image_id"])
    places = pools[pools["is_positive"]]["candidate"]
    assert places.nunique() > 4  # of 13 queries


def test_more_queries_keep_the_others(records, splits):
    few = mine(records, splits, n_queries={"discovery": 4})
    many = mine(records, splits, n_queries={"discovery": 9})
    kept = many[many["image_id"].isin(few["image_id"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, few)


def test_pools_fit_the_schema(pools, tmp_path):
    artifacts.write(tmp_path / "pools.parquet", pools, RETRIEVAL_POOLS)
    assert len(artifacts.read(tmp_path / "pools.parquet", RETRIEVAL_POOLS)) == len(pools)


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.lists(st.integers(0, 40), min_size=5, max_size=5), min_size=14, max_size=20),
    distinct=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pools_of_any_captions(texts, distinct, seed):
    captions = {10 + i: [f"text {n}" for n in group] for i, group in enumerate(texts)}
    names = sorted({text for group in captions.values() for text in group})
    vectors = np.random.default_rng(seed).normal(size=(len(names), 4)).astype(np.float32)
    frame = pd.DataFrame({"caption": names, "embedding": list(vectors)})
    mining = Mining(n_negatives=5, distinct_captions=distinct, seed=seed)
    try:
        pools = mine_pool(captions, frame, "ood", 3, mining)
    except BenchmarkError as error:
        assert "fewer than the 5 negatives" in str(error)
        return
    assert pools["image_id"].nunique() == 3
    assert pools["image_id"].is_monotonic_increasing
    for image_id, pool in pools.groupby("image_id"):
        negatives = pool[~pool["is_positive"]]
        assert pool["candidate"].tolist() == list(range(6))
        assert not set(negatives["caption"]) & set(captions[image_id])  # no own caption
        pairs = list(zip(negatives["caption"], negatives["caption_image_id"], strict=True))
        assert len(set(pairs)) == 5
        assert all(text in captions[other] for text, other in pairs)
        assert negatives["caption"].is_unique or not distinct
        positive = pool.loc[pool["is_positive"], "caption"].item()
        rows = frame.set_index("caption")["embedding"]
        exact = [float(rows[positive].astype(float) @ rows[text]) for text in negatives["caption"]]
        assert np.allclose(negatives["cosine"], exact, atol=1e-6)
    reversed_captions = dict(reversed(captions.items()))
    again = mine_pool(reversed_captions, frame.iloc[::-1], "ood", 3, mining)
    pd.testing.assert_frame_equal(again, pools)


def test_shared_captions_may_be_several_candidates(records, splits):
    options = {"n_queries": {"discovery": 6}, "n_negatives": 70}
    single = mine(records, splits, **options)
    several = mine(records, splits, distinct_captions=False, **options)
    for pools, repeated in ((single, False), (several, True)):
        counts = pools.groupby("image_id")["caption"].apply(lambda texts: texts.duplicated().sum())
        assert (counts.sum() > 0) == repeated


def test_no_queries_give_no_rows(records, splits):
    assert mine(records, splits, n_queries={}).empty


def test_the_papers_fraction_divides_the_papers_split():
    assert round(5 / 7 * 7000) == 5000


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"n_queries": {"test": 6}},
            BenchmarkError,
            r"split 'test' has 12 images, too few for 6 query images and a pool of 7 others.*"
            "at most 5 queries",
        ),
        (
            {"n_negatives": 200},
            BenchmarkError,
            r"image \d+: the pool has \d+ captions .* fewer than the 200 negatives",
        ),
        ({"n_queries": {"train": 1}}, ValueError, r"n_queries names \['train'\]"),
        ({"n_negatives": 0}, ValueError, "n_negatives 0"),
    ],
)
def test_too_small_splits_are_refused(records, splits, changes, error, message):
    with pytest.raises(error, match=message):
        mine(records, splits, **changes)


def test_embeddings_must_be_complete_and_finite(records, splits):
    whole = embedded(records)
    with pytest.raises(BenchmarkError, match="captions have no embedding, such as"):
        mine_retrieval_pools(records, splits, whole[::2], N_QUERIES, Mining(5))
    whole.loc[3, "embedding"][2] = np.nan
    with pytest.raises(BenchmarkError, match="hold NaN"):
        mine_retrieval_pools(records, splits, whole, N_QUERIES, Mining(5))


@pytest.fixture(scope="module")
def ocr_images(splits):
    used = sorted(splits[splits["split"] != "unused"]["image_id"])
    names = [f"{image_id}.png" for image_id in used]
    return pd.DataFrame({"image_id": used, "file_name": names})


@pytest.mark.parametrize("task", ["vqa", "ocr", "caption", "retrieval"])
def test_instances(records, splits, pools, ocr_images, task, tmp_path):
    frame = build_instances(task, records, splits, pools=pools, ocr_images=ocr_images)
    expected = sum(N_QUERIES.values()) if task == "retrieval" else sum(SIZES)
    assert len(frame) == frame["image_id"].nunique() == expected
    artifacts.write(tmp_path / "instances.parquet", frame, INSTANCES)
    stored = artifacts.read(tmp_path / "instances.parquet", INSTANCES)
    pd.testing.assert_series_equal(frame["instance_id"], stored["instance_id"], check_dtype=False)
    by_id = records.set_index("image_id")
    split_of = splits.set_index("image_id")["split"]
    for instance in to_instances(stored):
        record = by_id.loc[instance.image_id]
        assert instance.instance_id == f"{task}/{instance.image_id}"
        assert instance.split == split_of[instance.image_id]
        drawn = f"{instance.image_id}.png"
        assert instance.image == (drawn if task == "ocr" else record["file_name"])
        assert instance.question == (record["question"] if task == "vqa" else "")
        references = {
            "vqa": tuple(record["answers"]),
            "ocr": (record["transcription"],),
            "caption": tuple(record["captions"]),
            "retrieval": (),
        }
        assert instance.references == references[task]
        if task == "retrieval":
            group = pools[pools["image_id"] == instance.image_id].sort_values("candidate")
            assert instance.candidates == tuple(group["caption"])
            assert bool(group["is_positive"].iloc[instance.positive_index])


def test_instances_refuse_frames_of_another_run(records, splits, pools, ocr_images):
    with pytest.raises(BenchmarkError, match=r"49 drawn, 50 in a split, 1 in only one"):
        build_instances("ocr", records, splits, ocr_images=ocr_images[1:])
    others = build_splits(records["image_id"], *SIZES, seed=6)
    with pytest.raises(BenchmarkError, match=r"image \d+ is in split .*mine the retrieval pools"):
        build_instances("retrieval", records, others, pools=pools)
    with pytest.raises(BenchmarkError, match="has a gap in its candidates"):
        build_instances("retrieval", records, splits, pools=pools[1:])
    negatives = pools.assign(is_positive=False)
    with pytest.raises(BenchmarkError, match="has 0 positive candidates, not one"):
        build_instances("retrieval", records, splits, pools=negatives)


def test_instances_need_their_inputs(records, splits):
    with pytest.raises(ValueError, match="'ocr' needs the argument ocr_images"):
        build_instances("ocr", records, splits)
    with pytest.raises(ValueError, match="'retrieval' needs the argument pools"):
        build_instances("retrieval", records, splits)
    with pytest.raises(ValueError, match="not one of vqa, ocr, caption, retrieval"):
        build_instances("reading", records, splits)
