"""What the tests of token-level measurements share: targets, grids, and logits with z replaced."""

import numpy as np
import torch
from model_support import edited, ids_in_context, stock_logits

SHAPE = (2, 24)


def target_of(tiny, evaluator, item) -> int:
    """The first token of the most common answer."""
    return ids_in_context(tiny, evaluator.text(item), item.references[0])[0]


def grid_of(frame, column) -> np.ndarray:
    grid = np.zeros(SHAPE)
    grid[frame["layer"], frame["neuron"]] = frame[column]
    return grid


def last_logits(tiny, item, text, layer, z) -> torch.Tensor:
    """Logits behind the prompt with z of one layer replaced at the last position."""

    def edit(x):
        x[0, -1] = z
        return x

    with edited(tiny, layer, "z", edit):
        return stock_logits(tiny, item.image, text)[-1]
