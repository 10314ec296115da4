"""Out-of-distribution instances, their metrics and divisions, and the shifted toy."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hones_core import artifacts
from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.flickr30k import read_flickr30k
from hones_core.benchmark.instance_objects import to_instances
from hones_core.benchmark.ood_instances import (
    build_ood_instances,
    build_ood_splits,
    captions_by_image,
    choose_items,
)
from hones_core.benchmark.ood_readers import READERS, OodData, OodItem
from hones_core.benchmark.retrieval_pools import Mining, mine_pool
from hones_core.schemas.ood import (
    OOD_EXCLUDED,
    OOD_INSTANCES,
    OOD_ITEMS,
    OOD_RETRIEVAL_POOLS,
    OOD_SPLITS,
)
from hones_core.task_catalogue import TASK_NAMES
from hones_core.tasks import get_task, vqa
from hones_core.tasks.ood import METRICS
from hones_core.tasks.ood_sets import OOD_DATASETS, OOD_SETS
from hones_core.toy.shifted import write_shifted

N_IMAGES = 30
FILES = {
    "gqa": "gqa/val_balanced_questions.json",
    "textvqa": "textvqa/TextVQA_0.5.1_val.json",
    "flickr30k": "flickr30k/dataset_flickr30k.json",
}
FOLDERS = {
    "gqa": "gqa/images",
    "textvqa": "textvqa/train_images",
    "flickr30k": "flickr30k/flickr30k-images",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("shifted")
    write_shifted(path, N_IMAGES, seed=3)
    return path


def read(folder, dataset):
    reader = read_flickr30k if dataset == "flickr30k" else READERS[dataset]
    return reader(folder / FILES[dataset])


@pytest.fixture(scope="module")
def items(folder):
    return {
        dataset: choose_items(read(folder, dataset), dataset, None, 1, seed=0)[0]
        for dataset in OOD_DATASETS
    }


@pytest.fixture(scope="module")
def pools(items):
    captions = captions_by_image(items["flickr30k"])
    texts = sorted({text for group in captions.values() for text in group})
    vectors = np.random.default_rng(0).normal(size=(len(texts), 8)).astype(np.float32)
    frame = pd.DataFrame({"caption": texts, "embedding": list(vectors)})
    return mine_pool(captions, frame, "ood", 8, Mining(n_negatives=20))


@pytest.mark.parametrize("ood_set", OOD_SETS)
def test_instances(folder, items, pools, ood_set, tmp_path):
    known = OOD_SETS[ood_set]
    frame = build_ood_instances(ood_set, items[known.dataset], pools)
    artifacts.write(tmp_path / "i.parquet", frame, OOD_INSTANCES)
    artifacts.write(tmp_path / "p.parquet", pools, OOD_RETRIEVAL_POOLS)
    found = to_instances(artifacts.read(tmp_path / "i.parquet", OOD_INSTANCES))
    assert len(found) == (8 if known.task == "retrieval" else N_IMAGES)
    for instance in found:
        assert instance.instance_id.startswith(f"{ood_set}/")
        assert (folder / FOLDERS[known.dataset] / instance.image).is_file()
        candidate = instance.candidates[0] if known.task == "retrieval" else None
        assert get_task(known.task).instruction("llava", instance, candidate)
    assert known.in_domain_task in TASK_NAMES


def test_retrieval_needs_its_pools(items):
    with pytest.raises(ValueError, match="'flickr30k_retrieval' needs the argument pools"):
        build_ood_instances("flickr30k_retrieval", items["flickr30k"])


def test_metrics_of_the_sets(items, pools):
    assert set(METRICS) == set(OOD_SETS)
    right = {
        ood_set: build_ood_instances(ood_set, items[known.dataset], pools)
        for ood_set, known in OOD_SETS.items()
    }
    instance = to_instances(right["gqa"])[0]
    answer = instance.references[0]
    assert METRICS["gqa"]["exact_match"](f"The {answer.upper()}.", instance) == 1
    assert METRICS["gqa"]["exact_match"](f"{answer} or so", instance) == 0
    instance = to_instances(right["textvqa"])[0]
    text = max(instance.references, key=instance.references.count)
    assert list(METRICS["textvqa"]) == ["vqa_accuracy", "anls"]  # the first is the utility
    assert METRICS["textvqa"]["vqa_accuracy"](text, instance) == 1
    assert METRICS["textvqa"]["vqa_accuracy"](text + "q", instance) == 0
    assert 0.5 < METRICS["textvqa"]["anls"](text + "q", instance) < 1
    instance = to_instances(right["flickr30k_caption"])[0]
    assert METRICS["flickr30k_caption"]["bleu4"](instance.references[2], instance) > 0.99
    instance = to_instances(right["flickr30k_retrieval"])[0]
    scores = [float(k == instance.positive_index) for k in range(len(instance.candidates))]
    assert METRICS["flickr30k_retrieval"]["ndcg5"](scores, instance) == 1


WORDS = st.sampled_from(
    ["yes", "Yes.", "the yes", "no", "two", "2", "dont", "don't", "", "a b", "b"]
)


@settings(deadline=None)
@given(prediction=WORDS | st.text(max_size=8), answer=WORDS | st.text(max_size=8))
def test_vqa_accuracy_of_ten_equal_answers_is_exact_match(prediction, answer):
    equal = vqa.normalise(prediction) == vqa.normalise(answer)
    assert vqa.vqa_accuracy(prediction, [answer] * 10) == float(equal)


def data_of(counts):
    return OodData(
        [OodItem(f"{i}-{k}", f"{i}.jpg", "?", ("a",) * 10) for i, n in counts for k in range(n)],
        [("x", "no_answers", "none")],
    )


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=3, max_size=12), seed=st.integers(0, 99))
def test_choice_is_seeded_and_independent_of_order(counts, seed):
    data = data_of(list(enumerate(counts)))
    chosen, excluded = choose_items(data, "gqa", 3, 2, seed)
    used = chosen[chosen["chosen"]]
    assert used["image"].nunique() == 3
    per_image = used.groupby("image").size()
    assert all(
        per_image[f"{i}.jpg"] == min(2, n) for i, n in enumerate(counts) if f"{i}.jpg" in per_image
    )
    turned = OodData(data.items[::-1], data.excluded)
    again = choose_items(turned, "gqa", 3, 2, seed)[0].sort_values("item_id", ignore_index=True)
    pd.testing.assert_frame_equal(again, chosen.sort_values("item_id", ignore_index=True))
    assert excluded["item_id"].tolist() == ["x"]


def test_items_fit_their_schemas_and_too_few_are_refused(tmp_path):
    chosen, excluded = choose_items(data_of([(1, 2), (2, 1)]), "gqa", None, None, 0)
    assert chosen["chosen"].all()
    artifacts.write(tmp_path / "a.parquet", chosen, OOD_ITEMS)
    artifacts.write(tmp_path / "b.parquet", excluded, OOD_EXCLUDED)
    with pytest.raises(BenchmarkError, match="gqa: 3 images are asked for, but only 2"):
        choose_items(data_of([(1, 2), (2, 1)]), "gqa", 3, None, 0)
    with pytest.raises(BenchmarkError, match="but only 0 have"):
        choose_items(OodData(), "gqa", None, None, 0)


def test_ten_divisions_of_20_and_80_per_cent_by_image(tmp_path):
    chosen, _ = choose_items(data_of([(i, 1 + i % 3) for i in range(50)]), "gqa", None, None, 0)
    instances = build_ood_instances("gqa", chosen)
    splits = build_ood_splits(instances, 0.2, 10, seed=0)
    artifacts.write(tmp_path / "s.parquet", splits, OOD_SPLITS)
    assert sorted(splits["repeat"].unique()) == list(range(10))
    image_of = instances.set_index("instance_id")["image_id"]
    tunings = set()
    for _, rows in splits.groupby("repeat"):
        assert sorted(rows["instance_id"]) == sorted(instances["instance_id"])  # exhaustive
        images = image_of[rows["instance_id"]].to_numpy()
        parts = {
            part: set(images[(rows["part"] == part).to_numpy()]) for part in ("tuning", "test")
        }
        assert not parts["tuning"] & parts["test"]
        assert (len(parts["tuning"]), len(parts["test"])) == (10, 40)
        tunings.add(frozenset(parts["tuning"]))
    assert len(tunings) == 10
    shuffled = instances.sample(frac=1, random_state=1)
    key = ["repeat", "instance_id"]
    again = build_ood_splits(shuffled, 0.2, 10, seed=0).sort_values(key, ignore_index=True)
    pd.testing.assert_frame_equal(again, splits.sort_values(key, ignore_index=True))
    assert not build_ood_splits(instances, 0.2, 10, seed=1).equals(splits)
    with pytest.raises(BenchmarkError, match="1 images can't be divided"):
        build_ood_splits(instances[:1], 0.2, 10, seed=0)


def test_the_shifted_toy_has_the_same_seed_same_bytes(folder, tmp_path):
    def digests(path):
        return {
            str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in path.rglob("*")
            if file.is_file()
        }

    write_shifted(tmp_path / "again", N_IMAGES, seed=3)
    assert digests(tmp_path / "again") == digests(folder)


def test_the_three_forms_of_flickr30k_say_the_same(folder):
    forms = ("dataset_flickr30k.json", "results.csv", "flickr_annotations_30k.csv")
    one, two, three = (read_flickr30k(folder / "flickr30k" / form) for form in forms)
    assert one == two == three
    assert len(one.items) == N_IMAGES
    lines = (folder / "flickr30k" / "results.csv").read_text().splitlines()
    assert sum(line.count("| ") == 1 for line in lines) == 1  # the quirk is there


def test_the_shifted_toy_differs_from_the_training_scenes(folder):
    paths = list(folder.rglob("*.jpg"))
    assert len(paths) == 3 * N_IMAGES
    sizes = set()
    for path in paths:
        with Image.open(path) as image:
            sizes.add(image.size)
            assert (image.mode, image.format) == ("RGB", "JPEG")
            assert np.median(np.asarray(image)) < 150  # the training grounds are all lighter
    assert len(sizes) > 1 and (64, 64) not in sizes
    for item in read(folder, "flickr30k").items:
        assert len(set(item.references)) == 5
