"""Writing RGB images as PNG, twice as fast as Pillow does (figures in benchmarks/README.md).

Pillow tries all five row filters on every row. Here each row is stored as its difference to the
row above ("Up"), which numpy computes at once, and compressed with zlib's run-length strategy:
about a tenth larger on photographs, and just as lossless.
"""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from hones_core.atomic import written_atomically

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = ">IIBBBBB"  # width, height, bit depth, colour type, compression, filter, interlace
_RGB = 2
_UP = 2


def save_png(image: Image.Image, path: Path) -> None:
    """Write an RGB image losslessly and whole; equal pixels give equal bytes."""
    with written_atomically(path) as temporary:
        temporary.write_bytes(_encode(np.asarray(image)))


def _encode(pixels: np.ndarray) -> bytes:
    """The file's content; `pixels` is uint8 [height, width, 3]."""
    height, width, _ = pixels.shape
    rows = pixels.reshape(height, 3 * width)
    filtered = np.empty((height, 1 + 3 * width), np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])  # modulo 256, as the format wants
    packer = zlib.compressobj(1, strategy=zlib.Z_RLE)
    packed = packer.compress(filtered.data) + packer.flush()
    header = struct.pack(_HEADER, width, height, 8, _RGB, 0, 0, 0)
    return b"".join((_SIGNATURE, _chunk(b"IHDR", header), _chunk(b"IDAT", packed), _chunk(b"IEND")))


def _chunk(kind: bytes, content: bytes = b"") -> bytes:
    checksum = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)
