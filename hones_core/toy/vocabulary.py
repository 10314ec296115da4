"""The words of the toy world: colours, shapes, characters, and what must be known about them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A colour: its paint, the words for it, and what must be known about it."""

    rgb: tuple[int, int, int]
    synonym: str
    spanish: str
    temperature: str


@dataclass(frozen=True)
class Shape:
    """A shape: the words for it, and what must be known about it."""

    synonym: str
    spanish: str
    corners: str
    outline: str


COLOURS = {
    "red": Colour((215, 40, 40), "scarlet", "rojo", "warm"),
    "orange": Colour((245, 140, 30), "amber", "naranja", "warm"),
    "yellow": Colour((240, 220, 50), "golden", "amarillo", "warm"),
    "maroon": Colour((150, 25, 60), "burgundy", "granate", "warm"),
    "pink": Colour((245, 150, 190), "rosy", "rosa", "warm"),
    "brown": Colour((125, 75, 40), "chestnut", "marron", "warm"),
    "green": Colour((50, 165, 70), "emerald", "verde", "cool"),
    "teal": Colour((20, 130, 130), "turquoise", "turquesa", "cool"),
    "cyan": Colour((60, 200, 215), "aqua", "celeste", "cool"),
    "purple": Colour((135, 60, 185), "violet", "morado", "cool"),
    "gray": Colour((130, 130, 130), "silver", "gris", "cool"),
    "black": Colour((30, 30, 30), "ebony", "negro", "cool"),
}
SHAPES = {
    "circle": Shape("disc", "circulo", "zero", "round"),
    "ring": Shape("hoop", "anillo", "zero", "round"),
    "moon": Shape("crescent", "luna", "two", "round"),
    "square": Shape("box", "cuadrado", "four", "angular"),
    "triangle": Shape("wedge", "triangulo", "three", "angular"),
    "diamond": Shape("rhombus", "rombo", "four", "angular"),
    "cross": Shape("plus", "cruz", "twelve", "angular"),
    "star": Shape("asterisk", "estrella", "ten", "angular"),
}
# Latin capitals and digits with some look-alikes (B 8, S 5, Z 2, K X, M N) and without the pairs
# that even people confuse in this font at this size (O 0, I 1).
CHARACTERS = "ABCDEFHKLMNPRSTUXYZ24578"
NUMBERS = ("zero", "one", "two", "three", "four")

_FUNCTION_WORDS = """
    a an and or the of to is are there with near left right leftmost rightmost what which how many
    color shape shapes sign signs plate plates thing things does do have has corners more than
    warm cool round angular yes no Yes No What Which How Is Are Does in In Spanish it this
""".split()  # noqa: SIM905 - a word list reads best as text


def all_words() -> list[str]:
    """Every word of the toy world, once, in a fixed order."""
    words = [*_FUNCTION_WORDS, *NUMBERS]
    for name, colour in COLOURS.items():
        words += [name, colour.synonym, colour.spanish, colour.temperature]
    for name, shape in SHAPES.items():
        words += [name, shape.synonym, shape.spanish, shape.corners, shape.outline]
    return list(dict.fromkeys(words))
