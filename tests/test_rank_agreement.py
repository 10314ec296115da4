"""Agreement of rankers: overlap and Spearman's correlation against scipy-free transcriptions."""

import numpy as np
import pandas as pd
import pytest

from hones_core import artifacts
from hones_core.figures_agreement import agreement_matrix
from hones_core.rank_agreement import rank_agreement
from hones_core.schemas.agreement import RANKER_AGREEMENT

LAYERS, WIDTH = 3, 40


def ranking(orders: dict[tuple[str, int], np.ndarray]) -> pd.DataFrame:
    """Shuffled rows of a NEURON_RANKING; each order lists neurons by their place in the model."""
    frames = [
        pd.DataFrame({"layer": order // WIDTH, "neuron": order % WIDTH}).assign(
            ranker=ranker, seed=seed, rank=range(len(order))
        )
        for (ranker, seed), order in orders.items()
    ]
    return pd.concat(frames).sample(frac=1, random_state=1)


@pytest.fixture(scope="module")
def found():
    generator = np.random.default_rng(0)
    base = np.arange(LAYERS * WIDTH)
    orders = {
        ("hones", 0): base,
        ("same", 0): base,
        ("reversed", 0): base[::-1],
        ("random", 3): generator.permutation(base),  # as with seed: 3 in the configuration
        ("random", 4): generator.permutation(base),
    }
    first = {ranker: order for (ranker, seed), order in orders.items() if seed != 4}
    return first, rank_agreement(ranking(orders), 0.1)


def test_against_sets_and_pearson_of_ranks(found):
    orders, table = found
    assert len(table) == 6  # four rankers, each pair once, their later seeds left out
    for row in table.itertuples():
        one, two = orders[row.ranker], orders[row.other]
        common = set(one[:12].tolist()) & set(two[:12].tolist())
        assert row.overlap == pytest.approx(len(common) / 12)
        ranks = [np.argsort(order) for order in (one, two)]
        assert row.spearman == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_equal_and_reversed_orders(found):
    pairs = {frozenset((row.ranker, row.other)): row for row in found[1].itertuples()}
    same = pairs[frozenset(("hones", "same"))]
    assert (same.overlap, same.spearman) == (1, 1)
    reversed_ = pairs[frozenset(("hones", "reversed"))]
    assert (reversed_.overlap, reversed_.spearman) == (0, pytest.approx(-1))


def test_figure_and_artifact(found, tmp_path):
    table = found[1].assign(model="llava", task="vqa")
    artifacts.write(tmp_path / "table.parquet", table, RANKER_AGREEMENT, {})
    figure = agreement_matrix(table, "llava")
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert sorted(texts) == sorted(f"{100 * value:.0f}" for value in table["overlap"])
