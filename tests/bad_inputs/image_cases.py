"""Images of the splits: each is refused by the step that reads it, and by `check_data`."""

import shutil
import struct
import zlib

from case import Catalogue
from commands import script
from PIL import Image
from study import N_IMAGES, Study

IMAGES = Catalogue("data")
DRAWING = script("draw_ocr_images")
FETCH = "put the official file there"


def drawn(name: str, broken, *says: str) -> None:
    """A case of the first image of the splits."""
    IMAGES.add(name, DRAWING, broken, "image 'COCO_train2014_000000000001.jpg'", *says)


def _png(width: int, height: int) -> bytes:
    """The beginning of a PNG that would be of that size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


def _link(study: Study) -> None:
    outside = study.path("outside.jpg")
    shutil.move(study.image(), outside)
    study.image().symlink_to(outside)


drawn("an image missing", lambda study: study.image().unlink(), "is missing", "put the official f")
drawn("an image empty", lambda study: study.image().write_bytes(b""), "known format", FETCH)
drawn(
    "an image cut off",
    lambda study: study.image().write_bytes(study.image().read_bytes()[:900]),
    "can't be decoded",
    FETCH,
)
drawn(
    "an image of another size",
    lambda study: Image.new("RGB", (65, 48)).save(study.image()),
    "is 65 x 48 pixels, but 64 x 48 by its annotation",
    "take the official file: not resized, not rotated",
)
drawn(
    "a text in place of an image",
    lambda study: study.image().write_text("404 Not Found"),
    "is no image of a known format",
    FETCH,
)
drawn(
    "an image bomb",
    lambda study: study.image().write_bytes(_png(60_000, 60_000)),
    "is too large",
    FETCH,
)
drawn(
    "an image of too many pixels",
    lambda study: study.image().write_bytes(_png(11_000, 10_000)),
    "has 11000 x 10000 pixels, more than 100000000",
    FETCH,
)
drawn("a link out of the folder", _link, "a link leads out of the folder", "put the file itself")


@IMAGES.case(
    "splits of other images",
    DRAWING,
    "images of the splits have no record, such as",
    "build the splits again from these records",
)
def _other_splits(study):
    study.change("captions", lambda d: d["images"].pop())
    study.change("captions", lambda d: [d["annotations"].pop() for _ in range(5)])
    assert script("build_records")(study, []).status == 0


@IMAGES.case(
    "images missing, asked beforehand", script("check_data"), "image_folder", "table above"
)
def _images_missing(study):
    for number in range(1, N_IMAGES + 1):
        study.image(number).unlink()
