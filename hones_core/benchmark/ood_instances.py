"""Out-of-distribution items, instances and their repeated divisions (METHOD 8, E.3; METHOD 10)."""

from collections.abc import Mapping, Sequence

import pandas as pd

from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.ood_readers import OodData
from hones_core.benchmark.seeding import seeded_order
from hones_core.schemas.ood import OOD_EXCLUDED, OOD_INSTANCES, OOD_ITEMS, OOD_SPLITS
from hones_core.tasks.ood_sets import OOD_SETS

SPLIT = "ood"  # in the place of discovery, development and test
TUNING, TEST = "tuning", "test"


def choose_items(
    data: OodData, dataset: str, n_images: int | None, per_image: int | None, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The items, of which `n_images` images with `per_image` items each are chosen (None: all).

    Choices depend on the seed, the data set and the names alone. Returns frames of the schemas
    OOD_ITEMS and OOD_EXCLUDED. Raises BenchmarkError if there are fewer images than asked for.
    """
    by_image: dict[str, list[str]] = {}
    for item in data.items:
        by_image.setdefault(item.image, []).append(item.item_id)
    if len(by_image) < (n_images or 1):
        raise BenchmarkError(
            f"{dataset}: {n_images or 1} images are asked for, but only {len(by_image)} have a "
            "complete item; lower the number or see the excluded items for reasons"
        )
    chosen: set[str] = set()
    for image in seeded_order(by_image, seed, "ood image", dataset)[:n_images]:
        chosen |= set(seeded_order(by_image[image], seed, "ood item", dataset)[:per_image])
    number = {image: place for place, image in enumerate(sorted(by_image))}
    rows = [
        (i.item_id, number[i.image], i.image, i.question, list(i.references), i.item_id in chosen)
        for i in data.items
    ]
    return (
        pd.DataFrame(rows, columns=OOD_ITEMS.names),
        pd.DataFrame(data.excluded, columns=OOD_EXCLUDED.names),
    )


def captions_by_image(items: pd.DataFrame) -> dict[int, Sequence[str]]:
    """The captions of each chosen image of Flickr30k."""
    chosen = items[items["chosen"]]
    return dict(zip(chosen["image_id"], chosen["references"], strict=True))


def build_ood_instances(
    ood_set: str, items: pd.DataFrame, pools: pd.DataFrame | None = None
) -> pd.DataFrame:
    """The instances of one set of OOD_SETS, from frames of the schemas OOD_ITEMS and, for
    retrieval, OOD_RETRIEVAL_POOLS; returns OOD_INSTANCES."""
    task = OOD_SETS[ood_set].task
    used = items[items["chosen"]].sort_values("item_id", ignore_index=True)
    candidates: Mapping[int, list[str]] = {}
    if task == "retrieval":
        if pools is None:
            raise ValueError(f"{ood_set!r} needs the argument pools")
        groups = dict(iter(pools.sort_values(["image_id", "candidate"]).groupby("image_id")))
        candidates = {image_id: group["caption"].to_list() for image_id, group in groups.items()}
        positive = {
            image_id: int(group["is_positive"].to_numpy().argmax())
            for image_id, group in groups.items()
        }
        used = used[used["image_id"].isin(groups)].reset_index(drop=True)
    ranks = task == "retrieval"
    return pd.DataFrame(
        {
            "ood_set": ood_set,
            "instance_id": [f"{ood_set}/{item_id}" for item_id in used["item_id"]],
            "task": task,
            "split": SPLIT,
            "image_id": used["image_id"],
            "image": used["image"],
            "question": used["question"],
            "references": [[] for _ in range(len(used))] if ranks else used["references"],
            "candidates": [candidates.get(image_id, []) for image_id in used["image_id"]],
            "positive_index": [positive[i] if ranks else -1 for i in used["image_id"]],
        },
        columns=OOD_INSTANCES.names,
    )


def build_ood_splits(
    instances: pd.DataFrame, tuning_fraction: float, repeats: int, seed: int
) -> pd.DataFrame:
    """Divide a set by image `repeats` times: `round(tuning_fraction * images)` are for tuning.

    All instances of an image are in the same part. Takes a frame of the schema OOD_INSTANCES,
    returns OOD_SPLITS. Raises BenchmarkError if a part would be empty.
    """
    images = [int(image_id) for image_id in instances["image_id"].unique()]
    n_tuning = round(tuning_fraction * len(images))
    if not 0 < n_tuning < len(images):
        raise BenchmarkError(
            f"{len(images)} images can't be divided into {n_tuning} for tuning and the rest; "
            "use more images"
        )
    ood_set = instances["ood_set"].iloc[0]
    parts = []
    for repeat in range(repeats):
        tuning = set(seeded_order(images, seed, "ood split", ood_set, repeat)[:n_tuning])
        part = [TUNING if image_id in tuning else TEST for image_id in instances["image_id"]]
        parts.append(instances[["ood_set", "instance_id"]].assign(repeat=repeat, part=part))
    return pd.concat(parts, ignore_index=True)[OOD_SPLITS.names]
