"""Small scenes: coloured shapes and text plates on a light ground, drawn in 64 x 64 pixels.

A scene is a plain description; drawing it is a pure function of that description. All randomness
comes from `scene_rng`, whose first word of seed says what the scene is for: training and
evaluation draw from different spaces, so no evaluation seed can be seen in training.
"""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw, ImageFont

from hones_core.toy.vocabulary import CHARACTERS, COLOURS, SHAPES

SIDE = 64  # pixels
PATCH = 8  # pixels; the vision tower's patch
GRID = SIDE // PATCH
GLYPH_HEIGHT = 14  # pixels
MAX_CHARACTERS = 5
TINT = 12.0  # standard deviation of a thing's paint, per channel of 0..255
NOISE = (5.0, 18.0)  # range of an image's noise, standard deviation in 0..255
Kind = tuple[str, str]  # colour, shape
SEED_SPACES = {"training": 1, "evaluation": 2}

_GROUNDS = ((236, 236, 230), (222, 232, 242), (242, 232, 214), (224, 240, 222), (240, 226, 236))
# (plate, ink): from full contrast to faint.
_INKS = (
    ((250, 250, 250), (15, 15, 15)),
    ((25, 25, 30), (240, 240, 240)),
    ((255, 246, 200), (120, 80, 50)),
    ((190, 195, 200), (135, 139, 145)),
    ((80, 100, 90), (130, 150, 140)),
)


def scene_rng(space: str, *words: int) -> np.random.Generator:
    """Return the generator of one seed space ('training' or 'evaluation')."""
    return np.random.default_rng([SEED_SPACES[space], *words])


@dataclass(frozen=True)
class Thing:
    """A coloured shape; position and size in pixels, (x, y) its upper left corner.

    `tint` is added to the colour's paint: no two reds are quite alike.
    """

    colour: str
    shape: str
    x: int
    y: int
    size: int
    tint: tuple[int, int, int]

    @property
    def kind(self) -> Kind:
        """Colour and shape: what a caption says of it."""
        return self.colour, self.shape


@dataclass(frozen=True)
class Plate:
    """A plate with text; box in pixels; `style` indexes the pairs of plate and ink colours."""

    text: str
    x: int
    y: int
    style: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """(x, y, w, h) in pixels."""
        return self.x, self.y, PATCH * len(self.text), GLYPH_HEIGHT


@dataclass(frozen=True)
class Scene:
    """Two or three things of different kinds, ordered from left to right, and one or two plates."""

    things: tuple[Thing, ...]
    plates: tuple[Plate, ...]
    ground: int
    noise: float
    noise_seed: int


def _free_place(
    rng: np.random.Generator, taken: np.ndarray, rows: int, columns: int
) -> tuple[int, int] | None:
    """Pick an empty rectangle of patches and mark it as taken; None if forty tries find none."""
    for _ in range(40):
        row = int(rng.integers(0, GRID - rows + 1))
        column = int(rng.integers(0, GRID - columns + 1))
        window = taken[row : row + rows, column : column + columns]
        if not window.any():
            window[:] = True
            return row, column
    return None


def _draw_kinds(rng: np.random.Generator) -> list[Kind]:
    """Draw two or three different kinds."""
    n_things = 2 if rng.random() < 0.6 else 3
    kinds: list[Kind] = []
    while len(kinds) < n_things:
        kind = (str(rng.choice(list(COLOURS))), str(rng.choice(list(SHAPES))))
        if kind not in kinds:
            kinds.append(kind)
    return kinds


def _try_scene(rng: np.random.Generator, kinds: Sequence[Kind]) -> Scene | None:
    taken = np.zeros((GRID, GRID), bool)
    plates = []
    for _ in range(int(rng.integers(1, 3))):
        length = int(rng.integers(3, MAX_CHARACTERS + 1))
        place = _free_place(rng, taken, 2, length)
        if place is None:
            return None
        text = "".join(rng.choice(list(CHARACTERS), length))
        # Two pixels from the edge at least, so that a box's outline covers no text.
        x = int(np.clip(PATCH * place[1] + rng.integers(-1, 2), 2, SIDE - 2 - PATCH * length))
        y = int(np.clip(PATCH * place[0] + rng.integers(0, 3), 2, SIDE - 2 - GLYPH_HEIGHT))
        plates.append(Plate(text, x, y, int(rng.integers(len(_INKS)))))
    columns, things = set(), []
    for colour, shape in kinds:
        place = _free_place(rng, taken, 2, 2)
        if place is None or place[1] in columns:  # left and right must be plain to see
            return None
        columns.add(place[1])
        size = int(rng.integers(13, 17))
        slack = 2 * PATCH - size
        x = PATCH * place[1] + int(rng.integers(0, slack + 1))
        y = PATCH * place[0] + int(rng.integers(0, slack + 1))
        red, green, blue = (int(shift) for shift in np.rint(rng.normal(0, TINT, 3)))
        things.append(Thing(colour, shape, x, y, size, (red, green, blue)))
    things.sort(key=lambda thing: thing.x)
    noise, noise_seed = float(rng.uniform(*NOISE)), int(rng.integers(2**31))
    return Scene(tuple(things), tuple(plates), int(rng.integers(len(_GROUNDS))), noise, noise_seed)


def sample_scene(rng: np.random.Generator, kinds: Sequence[Kind] | None = None) -> Scene:
    """Draw a scene, of given kinds or of any; layouts that do not fit are drawn again."""
    kinds = _draw_kinds(rng) if kinds is None else kinds
    while True:
        scene = _try_scene(rng, kinds)
        if scene is not None:
            return scene


def _outline(shape: str, size: float) -> list[tuple[float, float]]:
    """Corner points of an angular shape that fills a square of `size`."""
    middle = size / 2
    if shape == "square":
        return [(1, 1), (size - 1, 1), (size - 1, size - 1), (1, size - 1)]
    if shape == "triangle":
        return [(middle, 0), (size, size), (0, size)]
    if shape == "diamond":
        return [(middle, 0), (size, middle), (middle, size), (0, middle)]
    if shape == "cross":
        a, b = size * 0.32, size * 0.68
        return [
            *((a, 0), (b, 0), (b, a), (size, a), (size, b), (b, b)),
            *((b, size), (a, size), (a, b), (0, b), (0, a), (a, a)),
        ]
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5  # a star
    radii = np.where(np.arange(10) % 2 == 0, middle, middle * 0.42)
    return [
        (float(middle + r * np.cos(t)), float(middle + r * np.sin(t)))
        for r, t in zip(radii, angles, strict=True)
    ]


@cache
def _shape_masks(shape: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (inside, rim) coverage of a shape, float32 [size, size] in 0..1, antialiased."""
    scale, rim = 8, 10  # the dark rim is 10/8 of a pixel wide
    big = size * scale
    whole = Image.new("L", (big, big))
    draw = ImageDraw.Draw(whole)
    if shape in ("circle", "ring", "moon"):
        draw.ellipse((0, 0, big - 1, big - 1), fill=255)
        if shape == "ring":
            edge = int(big * 0.3)
            draw.ellipse((edge, edge, big - 1 - edge, big - 1 - edge), fill=0)
        if shape == "moon":
            draw.ellipse((int(big * 0.4), -int(big * 0.1), int(big * 1.4), int(big * 0.9)), fill=0)
    else:
        draw.polygon(_outline(shape, big), fill=255)
    padded = np.pad(np.asarray(whole) > 0, rim)
    shrunk = padded.copy()
    for axis in (0, 1):  # erosion by a square: the inside is what the rim leaves
        shrunk = np.min([np.roll(shrunk, step, axis) for step in range(-rim, rim + 1)], axis=0)
    inner = shrunk[rim:-rim, rim:-rim]
    coverage = [
        mask.reshape(size, scale, size, scale).mean((1, 3)).astype(np.float32)
        for mask in (inner, np.asarray(whole) > 0)
    ]
    return coverage[0], coverage[1] - coverage[0]


def matplotlib_fonts() -> Path:
    """The folder of the fonts that travel with matplotlib, found without importing it."""
    package = importlib.util.find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("the fonts of the toy scenes come with matplotlib: install it")
    return Path(package.origin).parent / "mpl-data/fonts/ttf"


@cache
def _glyph_mask(character: str) -> np.ndarray:
    """Return the coverage of a glyph, float32 [GLYPH_HEIGHT, PATCH] in 0..1.

    The font travels with matplotlib, so that every machine draws the same pixels; it is found
    without importing matplotlib.
    """
    path = matplotlib_fonts() / "DejaVuSansMono-Bold.ttf"
    canvas = Image.new("L", (PATCH, GLYPH_HEIGHT))
    ImageDraw.Draw(canvas).text(
        (PATCH / 2, GLYPH_HEIGHT / 2 + 5),
        character,
        fill=255,
        font=ImageFont.truetype(str(path), 13, layout_engine=ImageFont.Layout.BASIC),
        anchor="ms",
    )
    return np.asarray(canvas, np.float32) / 255


def _blend(pixels: np.ndarray, coverage: np.ndarray, colour: ArrayLike) -> None:
    pixels += coverage[..., None] * (np.asarray(colour, np.float32) - pixels)


def draw_scene(scene: Scene) -> Image.Image:
    """Draw a scene as an RGB image of SIDE x SIDE pixels."""
    pixels = np.empty((SIDE, SIDE, 3), np.float32)
    pixels[:] = _GROUNDS[scene.ground]
    for thing in scene.things:
        inside, rim = _shape_masks(thing.shape, thing.size)
        window = pixels[thing.y : thing.y + thing.size, thing.x : thing.x + thing.size]
        _blend(window, inside, np.add(COLOURS[thing.colour].rgb, thing.tint))
        _blend(window, rim, (25, 25, 25))
    for plate in scene.plates:
        x, y, w, h = plate.box
        paper, ink = _INKS[plate.style]
        pixels[y : y + h, x : x + w] = paper
        for index, character in enumerate(plate.text):
            left = x + PATCH * index
            _blend(pixels[y : y + h, left : left + PATCH], _glyph_mask(character), ink)
    noise = np.random.default_rng(scene.noise_seed).standard_normal((SIDE, SIDE, 1), np.float32)
    pixels += scene.noise * noise
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def patch_labels(scene: Scene, boxed: int | None) -> dict[str, np.ndarray]:
    """Say what each patch shows, int64 [GRID * GRID] per label, 0 for nothing.

    Labels: `shape` and `colour` (1 + index), `character` (1 + index in CHARACTERS), `place` (1 +
    position of the character in its text), `boxed` (1 inside the outlined plate).
    """
    names = ("shape", "colour", "character", "place", "boxed")
    labels = {name: np.zeros((GRID, GRID), np.int64) for name in names}
    colours, shapes = list(COLOURS), list(SHAPES)
    for thing in scene.things:
        row, column = thing.y // PATCH, thing.x // PATCH
        labels["shape"][row : row + 2, column : column + 2] = 1 + shapes.index(thing.shape)
        labels["colour"][row : row + 2, column : column + 2] = 1 + colours.index(thing.colour)
    for number, plate in enumerate(scene.plates):
        row, column = round(plate.y / PATCH), round(plate.x / PATCH)
        for index, character in enumerate(plate.text):
            window = (slice(row, row + 2), column + index)
            labels["character"][window] = 1 + CHARACTERS.index(character)
            labels["place"][window] = 1 + index
            labels["boxed"][window] = int(number == boxed)
    return {name: label.reshape(-1) for name, label in labels.items()}
