"""Opening photographs and drawing the blue box."""

import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from benchmark_support import HEIGHT, WIDTH, official, records_of
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hones_core import artifacts
from hones_core.benchmark import images
from hones_core.benchmark.boxes import clamp_box
from hones_core.benchmark.errors import ImageError
from hones_core.benchmark.images import check_image_size, find_missing_images, open_image
from hones_core.benchmark.overlays import draw_ocr_images, draw_outline
from hones_core.benchmark.splits import build_splits
from hones_core.schemas.benchmark import OCR_IMAGES

BLUE = (0, 0, 255)


def noise(width=WIDTH, height=HEIGHT, seed=0):
    """An image without any pure blue."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_header(width, height):
    """A PNG file that declares a size and has no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "RGBA", "LA", "YCbCr"])
def test_other_modes_become_rgb(tmp_path, mode):
    name = "image.tif" if mode in ("CMYK", "YCbCr") else "image.png"
    noise().convert(mode).save(tmp_path / name)
    image = open_image(tmp_path, name)
    assert (image.mode, image.size, image.info) == ("RGB", (WIDTH, HEIGHT), {})


def test_sixteen_bits_are_scaled(tmp_path):
    levels = np.array([[0, 257, 32_768, 65_535]], dtype=np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    image = np.asarray(open_image(tmp_path, "deep.png"))
    assert image[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, [255] * 3]


def test_exif_orientation_is_ignored(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees
    noise().save(tmp_path / "turned.jpg", exif=exif)
    image = open_image(tmp_path, "turned.jpg")
    assert image.size == (WIDTH, HEIGHT)
    check_image_size(image, WIDTH, HEIGHT, "turned.jpg")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jpg", "is missing; put the official file there"),
        ("text.jpg", "no image of a known format"),
        ("empty.jpg", "no image of a known format"),
        ("cut.jpg", "can't be decoded"),
        ("cut.png", "can't be decoded"),
        ("huge.png", "has 11000 x 10000 pixels, more than 100000000"),
        ("bomb.png", "is too large"),
        ("folder.jpg", "can't be decoded"),
        ("link.jpg", "a link leads out of the folder"),
        ("loop.jpg", "is a broken link|can't be decoded"),  # by Python version
        ("linked/inside.jpg", "a link leads out of the folder"),
        ("../outside.jpg", "leaves the image folder"),
        ("/outside.jpg", "is absolute"),
        ("a\\b.jpg", "backslash"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_image_is_named(tmp_path, name, message):
    folder, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    (folder / "folder.jpg").mkdir(parents=True)
    elsewhere.mkdir()
    for path in (tmp_path / "outside.jpg", elsewhere / "inside.jpg"):
        noise().save(path)
    (folder / "link.jpg").symlink_to(tmp_path / "outside.jpg")
    (folder / "loop.jpg").symlink_to(folder / "loop.jpg")
    (folder / "linked").symlink_to(elsewhere)
    (folder / "text.jpg").write_text("not an image")
    (folder / "empty.jpg").touch()
    for kind in ("jpg", "png"):
        noise().save(tmp_path / f"whole.{kind}")
        (folder / f"cut.{kind}").write_bytes((tmp_path / f"whole.{kind}").read_bytes()[:1500])
    (folder / "huge.png").write_bytes(png_header(11_000, 10_000))
    (folder / "bomb.png").write_bytes(png_header(20_000, 10_000))
    with pytest.raises(ImageError, match=message) as caught:
        open_image(folder, name)
    assert repr(name) in str(caught.value)
    assert str(folder) in str(caught.value)


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "images").mkdir()
    noise().save(tmp_path / "images" / "a.png")
    (tmp_path / "link").symlink_to(tmp_path / "images")
    assert open_image(tmp_path / "link", "a.png").size == (WIDTH, HEIGHT)


def test_size_must_fit_the_annotation():
    with pytest.raises(ImageError, match=r"'a.jpg'.*is 64 x 48 pixels, but 48 x 64 by its anno"):
        check_image_size(noise(), HEIGHT, WIDTH, "a.jpg")


def test_missing_images_are_found(tmp_path):
    noise().save(tmp_path / "a.png")
    assert find_missing_images(tmp_path, ["b.png", "a.png", "c.png"]) == ["b.png", "c.png"]
    with pytest.raises(ImageError, match=r"'b.png'.*is missing \(2 of the 3 images needed are\)"):
        images.require_images(tmp_path, ["b.png", "a.png", "c.png"])


def test_clamping():
    assert clamp_box((125.6, 4.3, 7.2, 8.1), 640, 480) == (125.6, 4.3, 7.2, 8.1)
    assert clamp_box((-5, 470, 10, 20), 640, 480) == (0, 470, 5, 10)
    nan, inf = float("nan"), float("inf")
    empty = [(640, 0, 5, 5), (0, 0, 0, 5), (0, 0, 5, -1)]
    for outside in [*empty, (0, nan, 5, 5), (0, 0, nan, 5), (0, 0, inf, 5)]:
        with pytest.raises(ValueError, match="outside its 640 x 480 image"):
            clamp_box(outside, 640, 480)


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-20, 62),
    y=st.floats(-20, 46),
    w=st.floats(1, 80),
    h=st.floats(1, 80),
    width=st.integers(1, 4),
)
def test_only_the_outline_changes(x, y, w, h, width):
    if x + w <= 0.5 or y + h <= 0.5:
        return  # outside the image
    original = noise()
    before = np.asarray(original)
    after = np.asarray(draw_outline(original, (x, y, w, h), BLUE, width))
    assert after.shape == before.shape
    changed = (after != before).any(axis=2)
    assert (after[changed] == BLUE).all()
    left, top = max(0, int(np.floor(x)) - width), max(0, int(np.floor(y)) - width)
    right = min(WIDTH, int(np.ceil(min(x + w, WIDTH))) + width)
    bottom = min(HEIGHT, int(np.ceil(min(y + h, HEIGHT))) + width)
    expected = np.zeros_like(changed)
    expected[top:bottom, left:right] = True
    expected[top + width : bottom - width, left + width : right - width] = False
    assert np.array_equal(changed, expected)
    assert np.array_equal(np.asarray(original), before)  # the photograph is not touched


def test_text_inside_the_image_is_not_covered():
    after = np.asarray(draw_outline(noise(), (10.4, 12.6, 20, 9), BLUE, 3))
    assert np.array_equal(after[12:22, 10:31], np.asarray(noise())[12:22, 10:31])


@pytest.fixture
def benchmark(tmp_path):
    """Six photographs with records and splits; the last image is in no split."""
    records, _ = records_of(tmp_path / "files", official(range(1, 7)))
    splits = build_splits(records["image_id"], 3, 1, 1)
    folder = tmp_path / "images"
    folder.mkdir()
    for record in records.itertuples():
        profile = b"a colour profile that must not travel"
        noise(seed=record.image_id).save(folder / record.file_name, icc_profile=profile)
    return records, splits, folder


def test_ocr_images(benchmark, tmp_path):
    records, splits, folder = benchmark
    drawn = draw_ocr_images(records, splits, folder, tmp_path / "a", BLUE, 2)
    assert sorted(drawn["image_id"]) == sorted(splits[splits["split"] != "unused"]["image_id"])
    artifacts.write(tmp_path / "ocr_images.parquet", drawn, OCR_IMAGES)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == sorted(drawn["file_name"])
    by_id = records.set_index("image_id")
    for row in drawn.itertuples():
        original = np.asarray(open_image(folder, by_id["file_name"][row.image_id]))
        outlined = np.asarray(Image.open(tmp_path / "a" / row.file_name))
        changed = (original != outlined).any(axis=2)
        ring = np.zeros_like(changed)
        ring[4:18, 6:30] = True  # the box of the support files is 8, 6, 20, 10
        ring[6:16, 8:28] = False
        assert (outlined[ring] == BLUE).all()
        assert not (changed & ~ring).any()


def test_ocr_images_are_deterministic_and_shards_add_up(benchmark, tmp_path):
    records, splits, folder = benchmark
    whole = draw_ocr_images(records, splits, folder, tmp_path / "a", BLUE, 2)
    shards = [
        draw_ocr_images(records, splits, folder, tmp_path / "b", BLUE, 2, shard=(index, 3))
        for index in range(3)
    ]
    joined = pd.concat(shards).sort_values("image_id", ignore_index=True)
    pd.testing.assert_frame_equal(joined, whole)
    for name in whole["file_name"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_nothing_is_drawn_when_an_image_is_missing(benchmark, tmp_path):
    records, splits, folder = benchmark
    last = splits[splits["split"] != "unused"]["image_id"].max()
    (folder / records.set_index("image_id")["file_name"][last]).unlink()
    with pytest.raises(ImageError, match=r"is missing \(1 of the 5 images needed are\)"):
        draw_ocr_images(records, splits, folder, tmp_path / "a", BLUE, 2)
    assert not (tmp_path / "a").exists()


def test_image_of_another_size_is_refused(benchmark, tmp_path):
    records, splits, folder = benchmark
    first = splits[splits["split"] != "unused"]["image_id"].min()
    noise(WIDTH + 1).save(folder / records.set_index("image_id")["file_name"][first])
    with pytest.raises(ImageError, match="is 65 x 48 pixels, but 64 x 48 by its annotation"):
        draw_ocr_images(records, splits, folder, tmp_path / "a", BLUE, 2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": (0, 0, 256)}, "is not red, green, blue"),
        ({"colour": (0, 0)}, "is not red, green, blue"),
        ({"width_px": 0}, "not at least 1"),
        ({"shard": (2, 2)}, "shard 2 of 2 does not exist"),
    ],
)
def test_bad_options_are_refused(benchmark, tmp_path, changes, message):
    options = {"colour": BLUE, "width_px": 2, **changes}
    with pytest.raises(ValueError, match=message):
        draw_ocr_images(*benchmark, tmp_path / "a", **options)
