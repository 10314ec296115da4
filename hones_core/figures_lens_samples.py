"""Logit lens of single samples: image, question and answers beside the tokens that lose most.

Everything is placed in inches on one page, because tokens flow like words of a text: none is cut,
however long it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ft2font import LoadFlags
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from hones_core.figure_style import GREY, INK, WIDTH, in_order, styled, task_name
from hones_core.figures_lens import KIND_COLOURS, KIND_NAMES, WITHOUT, group_label
from hones_core.schemas.lens import KINDS, SETS
from hones_core.vocabulary import visible

MOST_LAYERS = 6  # shown of a sample; of deeper models those that lose most
MARGIN, GAP = 0.12, 0.06  # inches
PICTURE = 1.45  # widest and highest image
LABEL = 0.62  # the layer's number before its tokens
LINE = 0.19  # of a chip with its gap
FONT, SMALL = 9.0, 8.5  # points
ASCENT = 1.02 / 72  # inches from the top of a line to where its letters stand, a point of size
PIXELS = 320  # images are stored no larger


@dataclass
class Page:
    """What is drawn so far, and the height in inches down to which the page is full."""

    axis: Axes
    y: float = MARGIN

    def text(self, x: float, text: str, size: float = FONT, **style: Any) -> None:
        """A line of text below the page's height, word for word as it is."""
        style = {"va": "baseline", "ha": "left", "color": INK} | style
        self.axis.text(x, self.y + ASCENT * size, text, fontsize=size, parse_math=False, **style)

    def paragraph(
        self, x: float, width: float, text: str, size: float = FONT, **style: Any
    ) -> None:
        """Text of several lines of the width; the page is full to its end."""
        weight = style.get("fontweight", "normal")
        for line in wrapped(drawable(text), width, size, weight):
            self.text(x, line, size, **style)
            self.y += size * 1.32 / 72


def lens_examples(
    samples: pd.DataFrame,
    tokens: Mapping[str, pd.DataFrame],
    images: Mapping[tuple[str, str], Image.Image],
    title: str = "",
) -> Figure:
    """The samples of LOGIT_LENS_SAMPLES with their rows of LOGIT_LENS_TOKENS of each task.

    `images` are those of (task, file name). A chip is a token, its colour the token's kind, and its
    strength the lost logit, of the sample's largest.
    """
    with styled():
        figure = Figure(figsize=(WIDTH, 1.0))
        page = Page(figure.add_axes((0, 0, 1, 1)))
        page.axis.axis("off")
        _draw(page, samples, tokens, images, title)
        height = page.y + MARGIN  # known at last
        figure.set_figheight(height)
        page.axis.set(xlim=(0, WIDTH), ylim=(height, 0))
    return figure


def _draw(
    page: Page,
    samples: pd.DataFrame,
    tokens: Mapping[str, pd.DataFrame],
    images: Mapping[tuple[str, str], Image.Image],
    title: str,
) -> None:
    if title:
        page.text(WIDTH / 2, title, 12, ha="center")
        page.y += 0.28
    _key(page)
    for task in in_order(samples["task"].unique()):
        own = samples[samples["task"] == task]
        for number in sorted(own["sample"].unique()):
            rows = own[own["sample"] == number].set_index("set")
            first = rows.iloc[0]
            lost = tokens[task][tokens[task]["instance_id"] == first["instance_id"]]
            page.axis.plot([MARGIN, WIDTH - MARGIN], [page.y] * 2, color="#cccccc", linewidth=0.8)
            page.y += GAP
            _sample(page, rows, lost, images[task, first["image"]])


def _key(page: Page) -> None:
    """What the chips' colours mean."""
    x = MARGIN
    note = "strong colour: much is lost; \u2423: a space before a word"
    parts = ["most lost first:", *KINDS, note]
    for part in parts:
        if part in KINDS:
            x = _chip(page, x, KIND_NAMES[part], KIND_COLOURS[part], 0.6) + GAP * 2
        else:
            page.text(x, part, SMALL, color="#555555")
            x += _width(part, SMALL) + GAP * 2
    page.y += 0.3


def _sample(page: Page, rows: pd.DataFrame, lost: pd.DataFrame, image: Image.Image) -> None:
    """One sample; the page is full to the end of its longest column."""
    top, first = page.y, rows.iloc[0]
    page.text(MARGIN, f"{task_name(first['task'])}  {first['instance_id']}", SMALL, color="#555555")
    page.y += 0.18
    bottom = page.y + _picture(page, image)
    page.y = top
    left = MARGIN + PICTURE + 0.2
    width = WIDTH - left - MARGIN
    page.paragraph(left, width, first["prompt"], fontweight="bold")
    answer = f"answer: {_answer(first, 'base')}; expected: {first['target']}"
    if first["task"] == "retrieval":  # what it answers is a ranking of candidates
        answer = f"ranked first: {_answer(first, 'base')}"
    page.paragraph(left, width, answer)
    page.y += GAP
    start = page.y
    half = (width - 0.2) / 2
    ends = []
    strongest = max(lost["lost"], default=1.0)
    for column, name in enumerate(SETS):
        page.y = start
        own = lost[lost["set"] == name]
        _column(page, left + column * (half + 0.2), half, rows.loc[name], own, strongest)
        ends.append(page.y)
    page.y = max(bottom, *ends) + 0.1


def _column(
    page: Page, x: float, width: float, row: pd.Series, lost: pd.DataFrame, strongest: float
) -> None:
    """One set of a sample: what is answered without it, and what each layer loses."""
    if row["n_neurons"] == 0:
        page.paragraph(x, width, WITHOUT[row.name].replace("\n", " "), color=GREY)
        return
    label = group_label(row["group"], row["n_neurons"])
    name = {"dominant": "the dominant group", "specific": "its own group"}[row.name]
    page.paragraph(x, width, f"without {name} {label}:", color="#555555")
    page.paragraph(x, width, _answer(row, "masked"))
    page.y += 0.04
    best = lost[lost["rank"] == 0].nlargest(MOST_LAYERS, "lost", keep="all")[:MOST_LAYERS]
    for layer in sorted(best["layer"]):
        page.text(x, f"layer {layer}", SMALL, color="#555555")
        here = x + LABEL
        for token in lost[lost["layer"] == layer].sort_values("rank").itertuples():
            colour, strength = KIND_COLOURS[token.kind], token.lost / strongest
            for piece in wrapped(drawable(visible(token.token)), width - LABEL - GAP, FONT):
                if here > x + LABEL and here + _width(piece, FONT) + 0.1 > x + width:
                    page.y += LINE
                    here = x + LABEL
                here = _chip(page, here, piece, colour, 0.12 + 0.6 * strength) + GAP
        page.y += LINE + 0.03
    if best.empty:
        page.paragraph(x, width, "no layer loses anything here", color=GREY)


def _answer(row: pd.Series, which: str) -> str:
    """The answer with its score; of retrieval, the candidate that is ranked first."""
    text = row[f"{which}_answer"] or "(nothing)"
    return f"{text}   (score\u00a0{row[f'{which}_utility']:.2f})"


def _chip(page: Page, x: float, text: str, colour: str, strength: float) -> float:
    """A token on a patch of its colour; returns where it ends, in inches."""
    width = _width(text, FONT) + 0.08
    face = tuple(1 - (1 - part) * strength for part in to_rgb(colour))
    patch = FancyBboxPatch(
        (x, page.y + 0.005),
        width,
        LINE - 0.04,
        boxstyle="round,pad=0,rounding_size=0.03",
        facecolor=face,
        edgecolor="none",
    )
    page.axis.add_patch(patch)
    page.text(x + 0.04, text)
    return x + width


def _picture(page: Page, image: Image.Image) -> float:
    """Draw an image below the page's height; returns its height in inches."""
    image = image.copy()
    image.thumbnail((PIXELS, PIXELS))
    scale = PICTURE / max(image.size)
    width, height = (side * scale for side in image.size)
    box = (MARGIN, MARGIN + width, page.y + height, page.y)
    page.axis.imshow(image, extent=box, aspect="auto", interpolation="nearest")
    return height


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> Iterator[str]:
    """The text in lines no wider than `width` inches, broken at spaces, else within a word."""
    line = ""
    for word in text.split(" "):
        longer = f"{line} {word}" if line else word
        if _width(longer, size, weight) <= width:
            line = longer
            continue
        if line:
            yield line
        line = word
        while _width(line, size, weight) > width and len(line) > 1:
            end = len(line) - 1
            while end > 1 and _width(line[:end], size, weight) > width:
                end -= 1
            yield line[:end]
            line = line[end:]
    if line or not text:
        yield line


def drawable(text: str) -> str:
    """The text with line breaks as spaces, and as codes what the figures' font cannot draw."""
    known = _characters()
    return "".join(
        one if ord(one) in known else f"\\u{ord(one):04x}" for one in text.replace("\n", " ")
    )


def _width(text: str, size: float, weight: str = "normal") -> float:
    """Inches, a little more than on paper: pixels are whole."""
    return 1.02 * sum(_advance(one, weight) for one in text) * size / 72


@lru_cache(maxsize=4096)
def _advance(character: str, weight: str) -> float:
    """How far a character moves the pen, in ems."""
    font = get_font(_font_file(weight))
    font.set_size(1000, 72)
    return font.load_char(ord(character), LoadFlags.NO_HINTING).linearHoriAdvance / 65536 / 1000


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    return frozenset(get_font(_font_file()).get_charmap())


def _font_file(weight: str = "normal") -> str:
    return findfont(FontProperties(family="DejaVu Sans", weight=weight))
