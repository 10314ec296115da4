"""Images without their text (METHOD 8, E.2): every COCO-Text region in the image's mean colour.

If masking a group of neurons costs captions as much on these images as on the untouched ones, the
loss has nothing to do with text that the model reads.
"""

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hones_core.benchmark.annotations import read_coco_text
from hones_core.benchmark.boxes import Box, clamp_box
from hones_core.benchmark.image_shards import photograph, shard_records
from hones_core.benchmark.png import save_png
from hones_core.benchmark.splits import used_images
from hones_core.schemas.benchmark import TEXT_ERASED_IMAGES, TEXT_REGIONS


def list_text_regions(coco_text: str | Path, splits: pd.DataFrame) -> pd.DataFrame:
    """All regions that the COCO-Text file has on the images in a split, legible or not.

    `splits` is a frame of the schema SPLITS; returns TEXT_REGIONS. Raises AnnotationError for a
    damaged file.
    """
    boxes = read_coco_text(coco_text).boxes
    rows = [
        (box.box_id, box.image_id, *box.box, box.legible)
        for image_id in used_images(splits)["image_id"]
        for box in boxes[image_id]
    ]
    return pd.DataFrame(rows, columns=TEXT_REGIONS.names)


def erase_text(image: Image.Image, regions: Iterable[Box]) -> tuple[Image.Image, float, int]:
    """Return an RGB copy with `regions` (x, y, w, h in pixels) in the mean colour of `image`.

    The whole box of a region is filled, to the outer edge of every pixel that it touches. Also
    returned: the share of the pixels that were filled, and the number of regions that lie wholly
    outside the image. The mean is that of all pixels before anything is filled.
    """
    pixels = np.array(image.convert("RGB"))
    mean = np.rint(pixels.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    filled = np.zeros(pixels.shape[:2], bool)
    outside = 0
    for region in regions:
        try:
            x, y, w, h = clamp_box(region, image.width, image.height)
        except ValueError:
            outside += 1
            continue
        filled[math.floor(y) : math.ceil(y + h), math.floor(x) : math.ceil(x + w)] = True
    pixels[filled] = mean
    return Image.fromarray(pixels), float(filled.mean()), outside


def erase_image_texts(
    records: pd.DataFrame,
    splits: pd.DataFrame,
    regions: pd.DataFrame,
    image_folder: str | Path,
    out_folder: str | Path,
    shard: tuple[int, int] = (0, 1),
) -> pd.DataFrame:
    """Write the image without text of every image in a split, as `{image id}.png`.

    `regions` is a frame of the schema TEXT_REGIONS; `shard` as in `draw_ocr_images`. Returns a
    frame of the schema TEXT_ERASED_IMAGES. Raises ImageError as `draw_ocr_images` does.
    """
    rows = shard_records(records, splits, shard, image_folder)
    boxes = dict(iter(regions.groupby("image_id")))
    Path(out_folder).mkdir(parents=True, exist_ok=True)
    erased = []
    for row in rows.itertuples():
        found = boxes.get(row.image_id, regions[:0])[["x", "y", "w", "h"]]
        texts = list(found.itertuples(index=False, name=None))
        image, share, outside = erase_text(photograph(image_folder, row), texts)
        name = f"{row.image_id}.png"
        save_png(image, Path(out_folder) / name)
        counts = (len(texts) - outside, outside, share)
        digest = hashlib.sha256(image.tobytes()).hexdigest()
        erased.append((row.image_id, name, image.width, image.height, *counts, digest))
    return pd.DataFrame(erased, columns=TEXT_ERASED_IMAGES.names)
