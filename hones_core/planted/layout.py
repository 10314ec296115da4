"""The residual stream of a planted model: named, mutually orthogonal subspaces.

Every feature is one dimension, so that what a weight reads or writes can be said by name. A
feature's value is 1 where it is present and 0 elsewhere (a patch's `content` varies by a tenth
with its paint).
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from hones_core.planted.world import (
    ANSWERS,
    CONTENTS,
    ROW_LENGTH,
    SLOTS,
    TASKS,
)

Feature = tuple[str, int]
Weights = Mapping[Feature, float]

# name: width in dimensions. Who writes it is said behind it.
SPACES = {
    "constant": 1,  # every token; so large that it alone decides the RMS norm
    "start": 1,  # the first token of a prompt, where an idle head rests
    "content": CONTENTS,  # image tokens: what the patch shows
    "slot": SLOTS,  # image tokens: where the patch is
    "task": len(TASKS),  # last prompt token: which task is asked
    "asked": ROW_LENGTH,  # the question's word for a place
    "candidate": CONTENTS,  # a candidate caption's word
    "said_ocr": CONTENTS,  # a letter of an answer
    "said_caption": CONTENTS,  # a word of a caption
    "before": CONTENTS,  # image tokens: what the patch before it shows (a head writes it)
    "asked_here": ROW_LENGTH,  # last prompt token (a head writes it)
    "candidate_here": CONTENTS,  # last prompt token (a head writes it)
    **{f"routed_{task}": CONTENTS for task in TASKS},  # what the task's routing head fetched
    **{f"cancel_{task}": CONTENTS for task in TASKS},  # from cancelled to cancelling neurons
    "scratch": 39,  # read and written by background heads and neurons only
    "answer": len(ANSWERS),  # read by the unembedding: one dimension a word
    "common": 1,  # read by every row of the unembedding alike, so that it changes no choice
}
WIDTH = sum(SPACES.values())  # 192: the scratch space fills it up to a multiple of the heads

# What the unembedding reads is read by no head and no neuron.
READABLE = [name for name in SPACES if name not in ("constant", "answer", "common")]

_START = dict(zip(SPACES, torch.tensor([0, *SPACES.values()]).cumsum(0).tolist(), strict=False))


def dimension(feature: Feature) -> int:
    """The feature's place in the residual stream; ValueError if there is none."""
    name, index = feature
    if not 0 <= index < SPACES[name]:
        raise ValueError(f"{name} has {SPACES[name]} features, not one numbered {index}")
    return _START[name] + index


def space(name: str) -> slice:
    """The dimensions of a subspace."""
    return slice(_START[name], _START[name] + SPACES[name])


def vector(weights: Weights) -> Tensor:
    """The weights as a vector of the residual stream, [WIDTH]."""
    out = torch.zeros(WIDTH)
    for feature, weight in weights.items():
        out[dimension(feature)] = weight
    return out


def mask(names: list[str]) -> Tensor:
    """1 in the dimensions of the given subspaces, 0 elsewhere, [WIDTH]."""
    out = torch.zeros(WIDTH)
    for name in names:
        out[space(name)] = 1
    return out
