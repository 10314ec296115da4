"""The plan of a planted model: which heads route what, which neurons write what, and why.

How an answer comes about, at the last prompt token (and at every token of the answer after it):

layer 0, attention   vqa: fetch from the question which place is asked; retrieval: fetch the
                     candidate's colour; ocr and caption: every patch notes what the patch before
                     it shows.
layer 1, attention   one routing head a task fetches the content of one patch: of the place that is
                     asked, of the candidate's colour, of the row's first patch, or (ocr and
                     caption, once a word is said) of the patch that follows the one just said. If
                     there is none, the head rests on the first token and fetches nothing.
layers 1 and 2, FFN  planted neurons, one a word in each layer, write the word of what was fetched
                     (retrieval: Yes, whatever the colour). If nothing was fetched, the end of the
                     answer has the largest logit.

Beside them stand the distractors, whose write-outs have a strength each, as a multiple of a planted
neuron's:

polysemantic   fires at every token of every task and writes what all words have in common, which
               changes no choice; what it reads, the fetched content among it, modulates it by a
               fiftieth
aligned        fires at the task's last prompt token whatever the image shows, and writes all of the
               task's words alike, the right one among them, so that the choice stays the image's
cancelled      fed by the routing head and writing the word as a planted neuron does; a cancelling
               neuron of the next layer reads that it has fired and takes the word away again
silent         would write a word, but its gate is shut
background     reads and writes at random, weakly
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hones_core.planted.layout import READABLE, WIDTH, Feature, Weights, mask, vector
from hones_core.planted.world import ANSWERS, CONTENTS, ROW_LENGTH, TASKS, WORDS, YES, row_slots

LAYERS = 3
HEADS = 6  # per layer
NEURONS = 176  # per layer
POLYSEMANTIC = 24  # per layer

OPEN = 10.0  # a gate's input where it lets through, and minus that where it does not
WRITE = 0.5  # logits that a planted neuron writes per unit of its activation, which is about 10
MODULATION = 0.02  # of a polysemantic neuron, by unit normal weights on all that it reads
BACKGROUND_READ, BACKGROUND_WRITE = 0.4, 0.02  # standard deviations of random weights

DISTRACTORS = ("polysemantic", "aligned", "cancelled", "silent")


@dataclass(frozen=True)
class Strengths:
    """Write-out of each kind of distractor, as a multiple of a planted neuron's."""

    polysemantic: float = 1.0
    aligned: float = 1.0
    cancelled: float = 1.0
    silent: float = 1.0

    @classmethod
    def all(cls, strength: float) -> "Strengths":
        """The same strength for every kind."""
        return cls(*[strength] * len(DISTRACTORS))


@dataclass(frozen=True)
class Head:
    """A routing head.

    matches: pairs of what a token asks for and what a token answers to; the score of two tokens is
    the number of matches. sink: score of the first token, for those that match nothing. copies:
    features of the tokens attended to, and where they are written. tasks: who needs it.
    """

    layer: int
    tasks: tuple[str, ...]
    matches: tuple[tuple[Weights, Weights], ...]
    copies: tuple[tuple[Feature, Feature], ...]
    sink: float


@dataclass(frozen=True)
class Neuron:
    """One neuron: z = silu(gate · x) (up · x), of which z * down is written; vectors [WIDTH].

    task: whose answers it is about, "" for all.
    """

    layer: int
    label: str
    task: str
    gate: Tensor
    up: Tensor
    down: Tensor


def routing_heads() -> list[Head]:
    """Every routing head of the four tasks."""
    return [
        Head(
            0,
            ("vqa",),
            (({("task", TASKS.index("vqa")): 1.0}, _any("asked")),),
            tuple((("asked", k), ("asked_here", k)) for k in range(ROW_LENGTH)),
            sink=0.5,
        ),
        Head(
            0,
            ("retrieval",),
            (({("task", TASKS.index("retrieval")): 1.0}, _any("candidate")),),
            tuple((("candidate", k), ("candidate_here", k)) for k in range(CONTENTS)),
            sink=0.5,
        ),
        Head(
            0,
            ("ocr", "caption"),
            tuple(
                ({("slot", slot): 1.0}, {("slot", slot - 1): 1.0})
                for task in ("ocr", "caption")
                for slot in row_slots(task)[1:]
            ),
            tuple((("content", k), ("before", k)) for k in range(CONTENTS)),
            sink=0.5,
        ),
        _fetching_head(
            "vqa",
            tuple(
                ({("asked_here", k): 1.0}, {("slot", slot): 1.0})
                for k, slot in enumerate(row_slots("vqa"))
            ),
        ),
        _fetching_head("ocr", _succession("ocr")),
        _fetching_head("caption", _succession("caption")),
        _fetching_head(
            "retrieval",
            tuple(({("candidate_here", k): 1.0}, {("content", k): 1.0}) for k in range(CONTENTS)),
        ),
    ]


def _any(name: str) -> Weights:
    width = {"asked": ROW_LENGTH, "candidate": CONTENTS}[name]
    return {(name, k): 1.0 for k in range(width)}


def _fetching_head(task: str, matches: tuple[tuple[Weights, Weights], ...]) -> Head:
    """The head of layer 1 that fetches a patch's content; it looks at the task's row only."""
    in_row: Weights = {("slot", slot): 1.0 for slot in row_slots(task)}
    return Head(
        1,
        (task,),
        (*matches, ({("constant", 0): 1.0}, in_row)),
        tuple((("content", k), (f"routed_{task}", k)) for k in range(CONTENTS)),
        sink=1.5,  # more than the row alone, less than the row and a match
    )


def _succession(task: str) -> tuple[tuple[Weights, Weights], ...]:
    """The row's first patch for the prompt, and for a word the patch behind what it names."""
    first = ({("task", TASKS.index(task)): 1.0}, {("slot", row_slots(task)[0]): 1.0})
    return (
        first,
        *(({(f"said_{task}", k): 1.0}, {("before", k): 1.0}) for k in range(CONTENTS)),
    )


def named_neurons(strengths: Strengths, generator: torch.Generator) -> list[Neuron]:
    """All but the background."""
    found = [
        _polysemantic(layer, strengths.polysemantic, generator)
        for layer in range(LAYERS)
        for _ in range(POLYSEMANTIC)
    ]
    for task in TASKS:
        words = {k: write_out(task, k) for k in range(CONTENTS)}
        every_word = torch.stack(list(words.values())).amax(0)
        for k, word in words.items():
            found += [_reader(layer, "planted", task, k, word) for layer in (1, 2)]
            found += [
                _aligned(task, strengths.aligned * every_word),
                *_cancelled_pair(task, k, strengths.cancelled * word),
                _silent(task, strengths.silent * word),
            ]
    return found


def write_out(task: str, content: int) -> Tensor:
    """What a planted neuron writes per unit of its activation, [WIDTH]."""
    word = YES if task == "retrieval" else WORDS[task][content]
    return vector({("answer", ANSWERS.index(word)): WRITE})


def _switch(feature: Feature) -> Tensor:
    """A gate that is open where the feature is 1 and shut where it is 0."""
    return vector({feature: 2 * OPEN, ("constant", 0): -OPEN})


def _reader(layer: int, label: str, task: str, content: int, down: Tensor) -> Neuron:
    routed = (f"routed_{task}", content)
    return Neuron(layer, label, task, _switch(routed), vector({routed: 1.0}), down)


def _polysemantic(layer: int, strength: float, generator: torch.Generator) -> Neuron:
    noise = torch.randn(WIDTH, generator=generator) * mask(READABLE)
    always = vector({("constant", 0): 1.0})
    return Neuron(
        layer,
        "polysemantic",
        "",
        OPEN * always,
        strength * (always + MODULATION * noise),
        vector({("common", 0): WRITE}),
    )


def _aligned(task: str, down: Tensor) -> Neuron:
    gate = _switch(("task", TASKS.index(task)))
    return Neuron(1, "aligned", task, gate, vector({("constant", 0): 1.0}), down)


def _cancelled_pair(task: str, content: int, down: Tensor) -> tuple[Neuron, Neuron]:
    """A neuron that writes a word and leaves a note, and the one that takes both back."""
    note = (f"cancel_{task}", content)
    gain = float(torch.nn.functional.silu(torch.tensor(OPEN)))
    noted = down + vector({note: 1 / gain})  # so that both neurons have the same z
    always = vector({("constant", 0): OPEN})
    return (
        _reader(1, "cancelled", task, content, noted),
        Neuron(2, "cancelling", task, always, vector({note: 1.0}), -noted),
    )


def _silent(task: str, down: Tensor) -> Neuron:
    always = vector({("constant", 0): 1.0})
    return Neuron(2, "silent", task, -OPEN * always, always, down)


def background_neuron(layer: int, generator: torch.Generator) -> Neuron:
    """A neuron that reads and writes at random."""

    def draw(scale: float, names: list[str]) -> Tensor:
        return scale * torch.randn(WIDTH, generator=generator) * mask(names)

    read = [*READABLE, "constant"]
    return Neuron(
        layer,
        "background",
        "",
        draw(BACKGROUND_READ, read),
        draw(BACKGROUND_READ, read),
        draw(BACKGROUND_WRITE, ["scratch", "answer", "common"]),
    )
