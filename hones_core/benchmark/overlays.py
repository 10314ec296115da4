"""The blue box: the one place where the OCR image is made from the untouched photograph."""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw

from hones_core.benchmark.boxes import Box, clamp_box
from hones_core.benchmark.image_shards import photograph, shard_records
from hones_core.benchmark.png import save_png
from hones_core.schemas.benchmark import OCR_IMAGES


def draw_outline(
    image: Image.Image, box: Box, colour: tuple[int, int, int], width: int
) -> Image.Image:
    """Return an RGB copy of `image` with a rectangle of `width` pixels drawn around `box`.

    The line grows outwards, so that it covers none of the text; where that would leave the image
    it is moved inside. No pixel but those of the line changes (paper 3: no crop, no resize, and
    never the transcription).
    """
    x, y, w, h = clamp_box(box, image.width, image.height)
    left, top = max(0, math.floor(x) - width), max(0, math.floor(y) - width)
    right = min(image.width - 1, math.ceil(x + w) - 1 + width)
    bottom = min(image.height - 1, math.ceil(y + h) - 1 + width)
    outlined = image.convert("RGB")  # always a copy
    ImageDraw.Draw(outlined).rectangle((left, top, right, bottom), outline=colour, width=width)
    return outlined


def draw_ocr_images(
    records: pd.DataFrame,
    splits: pd.DataFrame,
    image_folder: str | Path,
    out_folder: str | Path,
    colour: Sequence[int],
    width_px: int,
    shard: tuple[int, int] = (0, 1),
) -> pd.DataFrame:
    """Write the OCR image of every image in a split to `out_folder`, as `{image id}.png`.

    `records` and `splits` are frames of those schemas. `colour` is red, green, blue from 0 to 255,
    `width_px` the line's width in pixels. `shard` = (index from 0, count) draws every count-th
    image only, so that several jobs share the work. Equal inputs give equal bytes.

    Returns a frame of the schema OCR_IMAGES. Raises ImageError, before anything is drawn, if an
    image is missing, and later for one that is unreadable or not of its annotated size.
    """
    colour = _checked_colour(colour)
    if width_px < 1:
        raise ValueError(f"the outline's width is {width_px} pixels, not at least 1")
    rows = shard_records(records, splits, shard, image_folder)
    Path(out_folder).mkdir(parents=True, exist_ok=True)
    drawn = []
    for row in rows.itertuples():
        image = photograph(image_folder, row)
        box = (row.box_x, row.box_y, row.box_w, row.box_h)
        outlined = draw_outline(image, box, colour, width_px)
        name = f"{row.image_id}.png"
        save_png(outlined, Path(out_folder) / name)
        digest = hashlib.sha256(outlined.tobytes()).hexdigest()
        drawn.append((row.image_id, name, outlined.width, outlined.height, digest))
    return pd.DataFrame(drawn, columns=OCR_IMAGES.names)


def _checked_colour(colour: Sequence[int]) -> tuple[int, int, int]:
    if len(colour) != 3 or not all(type(c) is int and 0 <= c <= 255 for c in colour):
        raise ValueError(f"colour {colour!r} is not red, green, blue from 0 to 255")
    red, green, blue = colour
    return red, green, blue
