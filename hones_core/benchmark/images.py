"""Opening photographs: confined to their folder, checked before decoding, always 8-bit RGB.

The EXIF orientation is ignored on purpose: COCO's annotations, and with them the text boxes, refer
to the pixels as they are stored.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from hones_core.benchmark.errors import ImageError
from hones_core.benchmark.file_names import unsafe_name

MAX_PIXELS = 100_000_000  # COCO's images have 0.4 million at most; more is damage or an attack
FETCH = "put the official file there"
SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def open_image(folder: str | Path, file_name: str) -> Image.Image:
    """The image `file_name` of `folder` as RGB pixels without metadata.

    Greyscale, palette and CMYK images are converted, 16-bit ones scaled to 8 bits, transparency is
    dropped. Raises ImageError, naming folder, file and remedy, for a name or link that leaves the
    folder, and for a file that is missing, undecodable or larger than MAX_PIXELS.
    """
    path = image_path(folder, file_name)
    try:
        with Image.open(path) as image:
            _check_pixels(image, folder, file_name)
            return _as_rgb(image)
    except FileNotFoundError:
        raise ImageError(folder, file_name, "is missing", FETCH) from None
    except Image.DecompressionBombError as error:
        raise ImageError(folder, file_name, f"is too large ({error})", FETCH) from error
    except UnidentifiedImageError as error:
        raise ImageError(folder, file_name, "is no image of a known format", FETCH) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        # what Pillow's decoders raise on cut-off or corrupted data
        problem = f"can't be decoded ({error})"
        raise ImageError(folder, file_name, problem, FETCH) from error


def image_path(folder: str | Path, file_name: str) -> Path:
    """The path of an image file; ImageError if its name, or a link in it, leaves the folder."""
    problem = unsafe_name(file_name)
    if problem:
        remedy = "give a name relative to the image folder"
        raise ImageError(folder, file_name, f"its name {problem}", remedy)
    path = Path(folder) / file_name
    remedy = "put the file itself into the folder"
    try:
        inside = path.resolve().is_relative_to(Path(folder).resolve())
    except (RuntimeError, OSError) as error:
        raise ImageError(folder, file_name, f"is a broken link ({error})", remedy) from error
    if not inside:
        raise ImageError(folder, file_name, "a link leads out of the folder", remedy)
    return path


def check_image_size(image: Image.Image, width: int, height: int, name: str) -> None:
    """Raise ImageError if the image is not of the size, in pixels, that its annotation gives."""
    if image.size != (width, height):
        problem = (
            f"is {image.width} x {image.height} pixels, but {width} x {height} by its annotation"
        )
        remedy = "take the official file: not resized, not rotated"
        raise ImageError("the image folder", name, problem, remedy)


def find_missing_images(folder: str | Path, file_names: Iterable[str]) -> list[str]:
    """The names that no file of the folder has, in their order. Cheap: opens nothing."""
    return [name for name in file_names if not image_path(folder, name).is_file()]


def require_images(folder: str | Path, file_names: Iterable[str]) -> None:
    """Raise ImageError if any of the images is missing, so that a step stops before its work."""
    names = list(file_names)
    missing = find_missing_images(folder, names)
    if missing:
        problem = f"is missing ({len(missing)} of the {len(names)} images needed are)"
        raise ImageError(folder, missing[0], problem, "put the official files there")


def _check_pixels(image: Image.Image, folder: str | Path, file_name: str) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        problem = f"has {image.width} x {image.height} pixels, more than {MAX_PIXELS}"
        raise ImageError(folder, file_name, problem, FETCH)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:  # Pillow's own conversion clips instead of scaling
        levels = np.round(np.asarray(image) / 257)  # 65,535 becomes 255
        return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8)).convert("RGB")
    rgb = image.convert("RGB")
    rgb.info = {}  # a colour profile or comment would travel into files written from it
    return rgb
