"""How much a stage computes: by the plain path, by the fast engine, and at least.

Counted in token-layers: one token through one decoder layer. Symbols as in `budget`; P: prompt
tokens, A: answer tokens. The lengths are those of the real tasks in a Llama and a Qwen vocabulary.
"""

from dataclasses import dataclass

from hones_core.engine.lengths import Lengths
from hones_core.engine.shapes import Shape
from hones_core.family_catalogue import FAMILIES

# Text tokens of prompt, answer and target, and of what is a candidate's own in retrieval; by the
# vocabulary of the language model.
_TEXT = {
    "llama": {
        "vqa": (29, 3, 2, 0),
        "ocr": (26, 6, 5, 0),
        "caption": (18, 16, 13, 0),
        "retrieval": (44, 1, 1, 35),
    },
    "qwen": {
        "vqa": (41, 3, 2, 0),
        "ocr": (33, 6, 5, 0),
        "caption": (28, 16, 12, 0),
        "retrieval": (54, 1, 1, 31),
    },
}
# Assumed share of answers that leave their draft under an intervention; they do halfway.
LEAVING = {"vqa": 0.1, "ocr": 0.1, "caption": 0.6, "retrieval": 0.0}
# Longest prompts have so many more text tokens than usual ones.
LONGEST = 1.5


@dataclass(frozen=True)
class Cost:
    """Of one sample: token-layers in whole passes and in decoding, rows that are decoded together,
    and images through the vision tower."""

    passed: float = 0.0
    decoded: float = 0.0
    together: int = 1
    images: float = 0.0

    @property
    def token_layers(self) -> float:
        return self.passed + self.decoded


@dataclass(frozen=True)
class Interventions:
    """How many; and where they begin: anywhere with equal chance (heads), or in the first layer
    (sets of neurons, which are spread over all)."""

    count: int
    anywhere: bool


def typical(family: str, task: str, image: int, candidates: int) -> Lengths:
    """Lengths of an ordinary instance whose image has `image` tokens."""
    text, answer, target, suffix = _TEXT[FAMILIES[family].vocabulary][task]
    return Lengths(image + text, answer, target, candidates if suffix else 0, suffix)


def longest(family: str, task: str, image: int, candidates: int, most: int) -> Lengths:
    """Lengths that memory has to be planned for; an answer may have `most` tokens."""
    text, _, target, suffix = _TEXT[FAMILIES[family].vocabulary][task]
    own = round(suffix * LONGEST)
    if suffix:
        return Lengths(image + text - suffix + own, 1, 1, candidates, own)
    return Lengths(image + round(text * LONGEST), most, 2 * target)


def whole_pass(shape: Shape, columns: int, reads: int) -> float:
    """All layers; in the top one the columns that are not read give keys and values alone."""
    return (shape.layers - 1) * columns + reads + _keys_values_share(shape) * columns


def replayed(shape: Shape, columns: int, reads: int, anywhere: bool) -> float:
    """The FFN of the changed layer and all layers above it; the mean over all layers if it may be
    any of them."""
    share = shape.ffn_parameters / shape.layer_parameters
    firsts = range(shape.layers) if anywhere else [0]
    costs = []
    for first in firsts:
        if first == shape.layers - 1:
            costs.append(share * reads)
        else:
            below_top = (share + shape.layers - 2 - first) * columns
            costs.append(below_top + reads + _keys_values_share(shape) * columns)
    return sum(costs) / len(costs)


def plain_answers(
    shape: Shape, lengths: Lengths, interventions: int, targets: bool, together: int
) -> Cost:
    """Generate anew each time (base included), and once more with the target behind the prompt."""
    runs, layers = 1 + interventions, shape.layers
    passes = lengths.prompt + (lengths.prompt + lengths.target - 1 if targets else 0)
    return Cost(
        runs * passes * layers,
        runs * (lengths.answer - 1) * layers,
        together,
        runs * (2 if targets else 1),
    )


def fast_answers(
    shape: Shape,
    lengths: Lengths,
    interventions: Interventions,
    leaving: float,
    targets: bool,
    together: int,
) -> Cost:
    """Draft, trace of prompt with draft and target, replays, and decoding of the rows that leave.

    The drafts of a few samples are decoded by themselves; that is left out of `together`.
    """
    nodes = lengths.nodes if targets else lengths.answer - 1
    columns, reads = lengths.prompt + nodes, 1 + nodes
    drafted = (lengths.answer - 1) * shape.layers
    passed = whole_pass(shape, lengths.prompt, 1) + whole_pass(shape, columns, reads)
    passed += interventions.count * replayed(shape, columns, reads, interventions.anywhere)
    decoded = interventions.count * leaving * lengths.answer / 2 * shape.layers
    return Cost(passed, drafted + decoded, together, 1)


def least_answers(
    shape: Shape, lengths: Lengths, interventions: Interventions, leaving: float, targets: bool
) -> float:
    """What no exact method can leave out: one pass, and what really changes."""
    nodes = lengths.nodes if targets else lengths.answer - 1
    columns, reads = lengths.prompt + nodes, 1 + nodes
    changed = replayed(shape, columns, reads, interventions.anywhere)
    changed += leaving * lengths.answer / 2 * shape.layers
    return whole_pass(shape, columns, reads) + interventions.count * changed


def plain_candidates(shape: Shape, lengths: Lengths, interventions: int) -> Cost:
    """Every candidate with its image, each time."""
    prompts = (1 + interventions) * lengths.candidates
    return Cost(prompts * lengths.prompt * shape.layers, images=prompts)


def fast_candidates(shape: Shape, lengths: Lengths, interventions: Interventions) -> Cost:
    """The prefix once, all candidates behind it; common beginnings of candidates not deducted, so
    that this is also the least."""
    columns = lengths.prefix + lengths.candidates * lengths.suffix
    passed = whole_pass(shape, columns, lengths.candidates)
    changed = replayed(shape, columns, lengths.candidates, interventions.anywhere)
    return Cost(passed + interventions.count * changed, images=1)


def plain_prompts(shape: Shape, lengths: Lengths, interventions: int) -> Cost:
    """Prompts alone, whole each time."""
    return Cost((1 + interventions) * lengths.prompt * shape.layers, images=1)


def fast_prompts(shape: Shape, lengths: Lengths, interventions: Interventions) -> Cost:
    """Prompts alone, replayed; this is also the least."""
    changed = replayed(shape, lengths.prompt, 1, interventions.anywhere)
    return Cost(whole_pass(shape, lengths.prompt, 1) + interventions.count * changed, images=1)


def plain_steering(shape: Shape, lengths: Lengths, examples: float, epochs: int) -> Cost:
    """Teacher, student, and back through the student, for every example of every epoch."""
    columns = lengths.prompt + lengths.target
    return Cost(3 * epochs * examples * columns * shape.layers, images=epochs * examples)


def fast_steering(
    shape: Shape, lengths: Lengths, examples: float, epochs: int, distinct: float
) -> Cost:
    """Teacher once for each of the `distinct` examples; student there and back from the bank's
    first layer, here the first of all."""
    columns, reads = lengths.prompt + lengths.target, 1 + lengths.target
    learning = 2 * replayed(shape, columns, reads, anywhere=False)
    once = whole_pass(shape, columns, reads)
    return Cost(distinct * once + epochs * examples * learning, images=distinct)


def _keys_values_share(shape: Shape) -> float:
    return 2 * shape.width * shape.kv_heads * shape.head_dim / shape.layer_parameters
