"""Writing thousands of images by several jobs: each job takes every n-th image.

Job k of n writes to the subfolder `k` of one folder and lists its files in a manifest; the
manifests are then gathered, and checked to hold every image once.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from PIL import Image

from hones_core.benchmark.errors import BenchmarkError
from hones_core.benchmark.images import check_image_size, open_image, require_images
from hones_core.benchmark.splits import used_images, used_records


def shard_records(
    records: pd.DataFrame, splits: pd.DataFrame, shard: tuple[int, int], image_folder: str | Path
) -> pd.DataFrame:
    """The records of one job: `shard` = (index from 0, count) of the images in a split.

    Raises ImageError, before anything is drawn, if one of their images is missing, ValueError for
    a shard that does not exist.
    """
    index, count = shard
    if not 0 <= index < count:
        raise ValueError(f"shard {index} of {count} does not exist")
    rows = used_records(records, splits).iloc[index::count]
    require_images(image_folder, rows["file_name"])
    return rows


def photograph(image_folder: str | Path, row: Any) -> Image.Image:
    """The photograph of a row of RECORDS, as RGB; ImageError if it is not of its annotated size."""
    image = open_image(image_folder, row.file_name)
    check_image_size(image, row.width, row.height, row.file_name)
    return image


def gather_manifests(
    manifests: Sequence[pd.DataFrame], splits: pd.DataFrame, rule: str
) -> pd.DataFrame:
    """One manifest of all jobs' images, in the order of the jobs; file names get the subfolder.

    Raises BenchmarkError, which names the `rule` to run again, unless every image in a split is
    there exactly once.
    """
    named = [
        frame.assign(file_name=[f"{index}/{name}" for name in frame["file_name"]])
        for index, frame in enumerate(manifests)
    ]
    gathered = pd.concat(named, ignore_index=True).sort_values("image_id", ignore_index=True)
    expected = used_images(splits)["image_id"].tolist()
    if gathered["image_id"].tolist() != expected:
        wrong = sorted(set(gathered["image_id"]) ^ set(expected))
        raise BenchmarkError(
            f"the shards hold {len(gathered)} images where the splits have {len(expected)} "
            f"({len(wrong)} in only one of the two); "
            f"run again: snakemake --cores 1 --forcerun {rule}"
        )
    return gathered
