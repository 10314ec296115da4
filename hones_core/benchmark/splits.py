"""The images of each split (METHOD 1: split by image, 7,000 / 2,000 / 3,000)."""

from collections.abc import Iterable

import pandas as pd

from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.seeding import seeded_order
from hones_core.schemas.benchmark import SPLITS

SPLIT_NAMES = ("discovery", "development", "test")
UNUSED = "unused"


def build_splits(
    image_ids: Iterable[int], n_discovery: int, n_development: int, n_test: int, seed: int = 0
) -> pd.DataFrame:
    """Put the images in a seeded order and cut it: discovery, development, test, 'unused' rest.

    The order of an image depends on its id and the seed alone, so that neither the order of
    `image_ids` nor the presence of other images changes it. Returns a frame of the schema SPLITS.
    Raises BenchmarkError if there are fewer images than asked for.
    """
    image_ids = [int(image_id) for image_id in image_ids]
    sizes = (n_discovery, n_development, n_test)
    if min(sizes) < 0:
        raise ValueError(f"split sizes {sizes} must not be negative")
    if len(set(image_ids)) != len(image_ids):
        raise BenchmarkError("image ids occur twice; build the splits from the records")
    if sum(sizes) > len(image_ids):
        raise BenchmarkError(
            f"the splits ask for {sum(sizes)} images ({' + '.join(map(str, sizes))}), but only "
            f"{len(image_ids)} are usable; lower the sizes or see the excluded images for reasons"
        )
    ordered = seeded_order(image_ids, seed, "split")
    names = [name for name, size in zip(SPLIT_NAMES, sizes, strict=True) for _ in range(size)]
    names += [UNUSED] * (len(ordered) - len(names))
    return pd.DataFrame(
        {"image_id": ordered, "split": names, "position": range(len(ordered))}, columns=SPLITS.names
    )


def used_images(splits: pd.DataFrame) -> pd.DataFrame:
    """The rows of `splits` that belong to a split, by image id."""
    return splits[splits["split"] != UNUSED].sort_values("image_id", ignore_index=True)


def used_records(records: pd.DataFrame, splits: pd.DataFrame) -> pd.DataFrame:
    """The records of all images in a split, with the columns of `splits`, by image id.

    Raises BenchmarkError if a record is missing: the two then come from different runs.
    """
    used = used_images(splits)
    missing = sorted(set(used["image_id"]) - set(records["image_id"]))
    if missing:
        raise BenchmarkError(
            f"{len(missing)} images of the splits have no record, such as {missing[0]}; "
            "build the splits again from these records"
        )
    return used.merge(records, on="image_id", validate="one_to_one")
