"""What is said about a scene: captions, questions with their answers, and false candidates.

A caption always tells the whole scene (every thing with colour and shape, and the number of
plates), in varying words and order. Each noun phrase is remembered with the fact it claims, so that
training can ask which claims of a candidate are true.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from hones_core.toy.scenes import Kind, Scene
from hones_core.toy.vocabulary import COLOURS, NUMBERS, SHAPES, Colour, Shape

_CORNERS = {"zero": 0, "two": 2, "three": 3, "four": 4, "ten": 10, "twelve": 12}
_COLOUR_NAMES, _SHAPE_NAMES = list(COLOURS), list(SHAPES)


@dataclass(frozen=True)
class Facts:
    """What a caption claims: things in left-to-right order, and the number of plates."""

    kinds: tuple[Kind, ...]
    n_plates: int


@dataclass(frozen=True)
class Sentence:
    """A caption; `claims` holds (index of the phrase's last word, thing or None for plates)."""

    words: tuple[str, ...]
    claims: tuple[tuple[int, Kind | None], ...]

    @property
    def text(self) -> str:
        """The caption as plain text."""
        return " ".join(self.words)


def facts_of(scene: Scene) -> Facts:
    """Return what every caption of a scene tells."""
    return Facts(tuple(thing.kind for thing in scene.things), len(scene.plates))


def _pick(rng: np.random.Generator, usual: str, other: str, p_usual: float = 0.8) -> str:
    return usual if rng.random() < p_usual else other


def _thing_phrase(rng: np.random.Generator, kind: Kind) -> list[str]:
    colour = _pick(rng, kind[0], COLOURS[kind[0]].synonym)
    shape = _pick(rng, kind[1], SHAPES[kind[1]].synonym)
    return [colour, shape]


def _plates_phrase(rng: np.random.Generator, n_plates: int) -> list[str]:
    noun = _pick(rng, "sign", "plate")
    return [NUMBERS[n_plates], noun if n_plates == 1 else noun + "s"]


Phrase = tuple[list[str], Kind | None]  # words, and the thing that they claim


def write_caption(rng: np.random.Generator, facts: Facts) -> Sentence:
    """Put facts into one of four sentence patterns; the plain one is the most frequent.

    There are no articles: a caption's first token then names something that is in the image.
    """
    phrases: list[Phrase] = [(_thing_phrase(rng, kind), kind) for kind in facts.kinds]
    plates: Phrase = (_plates_phrase(rng, facts.n_plates), None)
    parts: list[str | Phrase]
    pattern = rng.random()
    if pattern < 0.12 and len(phrases) == 2:
        left, right = phrases
        if rng.random() < 0.5:
            parts = [left, "to the left of", right, "with", plates]
        else:
            parts = [right, "to the right of", left, "with", plates]
    elif pattern < 0.24:
        parts = [plates, "and"]
        for phrase in phrases:
            parts += [phrase, "and"]
        parts.pop()
    else:
        if rng.random() < 0.15:
            phrases = phrases[::-1]
        parts = []
        for phrase in phrases:
            parts += [phrase, "and"]
        parts[-1] = "near" if pattern < 0.36 else "with"
        parts.append(plates)
    words: list[str] = []
    claims = []
    for part in parts:
        if isinstance(part, str):
            words += part.split()
        else:
            words += part[0]
            claims.append((len(words) - 1, part[1]))
    return Sentence(tuple(words), tuple(claims))


def new_kind(
    rng: np.random.Generator,
    taken: tuple[Kind, ...],
    colour: str | None = None,
    shape: str | None = None,
) -> Kind:
    """Draw a kind that is not in the scene, with colour or shape given or free."""
    while True:
        kind = (
            colour or str(rng.choice(_COLOUR_NAMES)),
            shape or str(rng.choice(_SHAPE_NAMES)),
        )
        if kind not in taken:
            return kind


def falsify(rng: np.random.Generator, facts: Facts) -> Facts:
    """Change facts so that they are false of the scene: at least one claimed thing is absent."""
    kinds = list(facts.kinds)
    index = int(rng.integers(len(kinds)))
    colour, shape = kinds[index]
    way = rng.random()
    if way < 0.3:
        kinds[index] = new_kind(rng, facts.kinds, shape=shape)
    elif way < 0.6:
        kinds[index] = new_kind(rng, facts.kinds, colour=colour)
    elif way < 0.75:
        kinds[index] = new_kind(rng, facts.kinds)
    elif way < 0.83:
        return replace(facts, n_plates=3 - facts.n_plates)
    elif way < 0.9 and len(kinds) == 2:
        kinds.append(new_kind(rng, facts.kinds))
    else:
        kinds = [new_kind(rng, facts.kinds) for _ in kinds]
        return Facts(tuple(kinds), int(rng.integers(1, 3)))
    return replace(facts, kinds=tuple(kinds))


@dataclass(frozen=True)
class Question:
    """A question, its answer, what a dissenting annotator says, and the official type names."""

    text: str
    answer: str
    dissent: tuple[str, ...]
    question_type: str
    answer_type: str


def _unique(scene: Scene, attribute: str) -> list:
    """Return the things that are the only ones of their colour (or shape)."""
    values = [getattr(thing, attribute) for thing in scene.things]
    return [thing for thing in scene.things if values.count(getattr(thing, attribute)) == 1]


def _other(rng: np.random.Generator, names: list[str], name: str) -> str:
    return str(rng.choice([candidate for candidate in names if candidate != name]))


def _one_thing(rng: np.random.Generator, scene: Scene, attribute: str) -> tuple[Kind, str] | None:
    """Pick a thing known by its colour (or shape) alone, and a word for that attribute."""
    things = _unique(scene, attribute)
    if not things:
        return None
    kind = things[int(rng.integers(len(things)))].kind
    table, name = (COLOURS, kind[0]) if attribute == "colour" else (SHAPES, kind[1])
    return kind, _pick(rng, name, table[name].synonym)


def _ask_colour(rng: np.random.Generator, scene: Scene) -> Question | None:
    if (found := _one_thing(rng, scene, "shape")) is None:
        return None
    (colour, _), word = found
    if rng.random() < 0.4:
        answer = COLOURS[colour].spanish
        dissent = (colour, COLOURS[_other(rng, _COLOUR_NAMES, colour)].spanish)
        return Question(
            f"What color is the {word} in Spanish?", answer, dissent, "what color", "other"
        )
    dissent = (COLOURS[colour].synonym, _other(rng, _COLOUR_NAMES, colour))
    return Question(f"What color is the {word}?", colour, dissent, "what color is the", "other")


def _ask_shape(rng: np.random.Generator, scene: Scene) -> Question | None:
    if (found := _one_thing(rng, scene, "colour")) is None:
        return None
    (_, shape), word = found
    if rng.random() < 0.4:
        answer = SHAPES[shape].spanish
        dissent = (shape, SHAPES[_other(rng, _SHAPE_NAMES, shape)].spanish)
        return Question(
            f"What is the {word} thing in Spanish?", answer, dissent, "what is the", "other"
        )
    dissent = (SHAPES[shape].synonym, _other(rng, _SHAPE_NAMES, shape))
    return Question(f"What shape is the {word} thing?", shape, dissent, "what", "other")


def _ask_exists(rng: np.random.Generator, scene: Scene) -> Question | None:
    kinds = tuple(thing.kind for thing in scene.things)
    colour, shape = kinds[int(rng.integers(len(kinds)))]
    there = rng.random() < 0.5
    if not there:
        keep = rng.random()
        colour, shape = new_kind(
            rng, kinds, colour=colour if keep < 0.5 else None, shape=shape if keep >= 0.5 else None
        )
    colour = _pick(rng, colour, COLOURS[colour].synonym)
    shape = _pick(rng, shape, SHAPES[shape].synonym)
    return _yes_no(
        f"Is there {'an' if colour[0] in 'aeiou' else 'a'} {colour} {shape}?", there, "is there a"
    )


def _yes_no(text: str, is_true: bool, question_type: str) -> Question:
    answer, other = ("yes", "no") if is_true else ("no", "yes")
    return Question(text, answer, (other,), question_type, "yes/no")


def _ask_count(rng: np.random.Generator, scene: Scene) -> Question | None:
    what = int(rng.integers(4))
    if what == 0:
        noun, count = "shapes", len(scene.things)
    elif what == 1:
        noun, count = "signs", len(scene.plates)
    elif what == 2:
        noun = str(rng.choice(["warm", "cool"]))
        count = sum(COLOURS[thing.colour].temperature == noun for thing in scene.things)
        noun += " shapes"
    else:
        noun = str(rng.choice(["round", "angular"]))
        count = sum(SHAPES[thing.shape].outline == noun for thing in scene.things)
        noun += " shapes"
    dissent = (NUMBERS[count + 1], NUMBERS[max(count - 1, 0)])
    return Question(f"How many {noun} are there?", NUMBERS[count], dissent, "how many", "number")


def _ask_category(rng: np.random.Generator, scene: Scene) -> Question | None:
    attribute = str(rng.choice(["colour", "shape"]))
    if (found := _one_thing(rng, scene, attribute)) is None:
        return None
    (colour, shape), word = found
    if attribute == "shape":
        answer = COLOURS[colour].temperature
        text = f"Is the {word} warm or cool?"
        other = "cool" if answer == "warm" else "warm"
    else:
        answer = SHAPES[shape].outline
        text = f"Is the {word} thing round or angular?"
        other = "angular" if answer == "round" else "round"
    return Question(text, answer, (other,), "is the", "other")


def _ask_corners(rng: np.random.Generator, scene: Scene) -> Question | None:
    if (found := _one_thing(rng, scene, "colour")) is None:
        return None
    (_, shape), word = found
    answer = SHAPES[shape].corners
    dissent = tuple(number for number in NUMBERS if number != answer)[-2:]
    return Question(
        f"How many corners does the {word} thing have?", answer, dissent, "how many", "number"
    )


def _ask_side(rng: np.random.Generator, scene: Scene) -> Question | None:
    things = scene.things
    first, second = (int(i) for i in rng.choice(len(things), 2, replace=False))
    words = [
        _pick(rng, things[i].colour, COLOURS[things[i].colour].synonym) for i in (first, second)
    ]
    if things[first].colour == things[second].colour:
        return None
    side = str(rng.choice(["left", "right"]))
    is_true = (first < second) == (side == "left")
    text = f"Is the {words[0]} thing {side} of the {words[1]} thing?"
    return _yes_no(text, is_true, "is the")


def _ask_end(rng: np.random.Generator, scene: Scene) -> Question | None:
    end = int(rng.integers(2))
    thing = scene.things[-end]
    name = ("leftmost", "rightmost")[end]
    spanish = rng.random() < 0.3
    table: Mapping[str, Colour | Shape] = COLOURS
    if rng.random() < 0.5:
        names, value = _COLOUR_NAMES, thing.colour
        text = f"What color is the {name} thing"
    else:
        table, names, value = SHAPES, _SHAPE_NAMES, thing.shape
        text = f"What is the {name} thing" if spanish else f"What shape is the {name} thing"
    other = _other(rng, names, value)
    if spanish:
        dissent = (value, table[other].spanish)
        return Question(f"{text} in Spanish?", table[value].spanish, dissent, "what", "other")
    return Question(f"{text}?", value, (table[value].synonym, other), "what", "other")


def _ask_more_corners(rng: np.random.Generator, scene: Scene) -> Question | None:
    things = _unique(scene, "colour")
    if len(things) < 2:
        return None
    first, second = (things[int(i)] for i in rng.choice(len(things), 2, replace=False))
    corners = [_CORNERS[SHAPES[thing.shape].corners] for thing in (first, second)]
    if corners[0] == corners[1]:
        return None
    more, less = (first, second) if corners[0] > corners[1] else (second, first)
    text = f"Which has more corners the {first.colour} thing or the {second.colour} thing?"
    return Question(text, more.colour, (less.colour, more.shape), "which", "other")


# (share of the questions, maker)
_MAKERS: tuple[tuple[float, Callable[[np.random.Generator, Scene], Question | None]], ...] = (
    (0.16, _ask_colour),
    (0.16, _ask_shape),
    (0.10, _ask_exists),
    (0.16, _ask_count),
    (0.10, _ask_category),
    (0.08, _ask_corners),
    (0.06, _ask_side),
    (0.10, _ask_end),
    (0.08, _ask_more_corners),
)
_CUMULATIVE = np.cumsum([share for share, _ in _MAKERS])


def ask_question(rng: np.random.Generator, scene: Scene) -> Question:
    """Ask one question that has one right answer; kinds of question are drawn by their shares."""
    while True:
        pick = int(np.searchsorted(_CUMULATIVE, rng.random() * _CUMULATIVE[-1], side="right"))
        question = _MAKERS[pick][1](rng, scene)
        if question is not None:
            return question
