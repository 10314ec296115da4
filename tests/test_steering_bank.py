"""The bank of neurons to be steered: which named set it is, and its best neurons."""

import pandas as pd
import pytest

from hones_core.neuron_sets import overlap_groups
from hones_core.steering.bank import SteeringError, choose_bank

SETS = {
    "vqa": frozenset([(0, 0), (0, 1), (1, 2), (1, 3)]),
    "ocr": frozenset([(0, 1), (1, 2), (1, 3)]),
    "caption": frozenset([(2, 2)]),
}
ORDER = [(1, 3), (2, 2), (0, 1), (0, 0), (1, 2)]


def choice(task, size=None, without="refuse", dominant="vqa+ocr", bank="dominant_group"):
    ranking = pd.DataFrame(
        [("hones", 0, rank, *neuron) for rank, neuron in enumerate(ORDER)]
        + [("random", 0, rank, *neuron) for rank, neuron in enumerate(sorted(ORDER))],
        columns=["ranker", "seed", "rank", "layer", "neuron"],
    ).sample(frac=1, random_state=0)
    chosen = pd.DataFrame({"task": ["vqa", "caption"], "group": [dominant, ""]})
    return choose_bank(task, overlap_groups(SETS), chosen, ranking, size, without, bank)


def test_bank_is_the_best_of_the_dominant_group():
    assert choice("vqa") == ({(0, 1), (1, 2), (1, 3)}, "vqa+ocr")
    assert choice("vqa", size=2) == ({(1, 3), (0, 1)}, "vqa+ocr")
    assert choice("vqa", size=99)[0] == choice("vqa")[0]


def test_bank_of_a_task_that_shares_nothing():
    with pytest.raises(SteeringError, match="bank_without_shared_group"):
        choice("caption")
    assert choice("caption", without="specific_group") == ({(2, 2)}, "caption")
    with pytest.raises(SteeringError, match="'vqa\\+caption' of vqa is empty"):
        choice("vqa", dominant="vqa+caption")


def test_other_named_sets_as_the_bank():
    assert choice("vqa", bank="specific_group") == ({(0, 0)}, "vqa")
    assert choice("vqa", bank="top_set") == (SETS["vqa"], "top set of vqa")
    assert choice("ocr", bank="top_set", size=2)[0] == {(1, 3), (0, 1)}
    with pytest.raises(SteeringError, match="'ocr' of ocr is empty"):
        choice("ocr", bank="specific_group")
    with pytest.raises(SteeringError, match="unknown bank 'best'"):
        choice("vqa", bank="best")
