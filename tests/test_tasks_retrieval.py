"""NDCG against a slow transcription and scikit-learn, and its properties."""

import math
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core.tasks import Instance, retrieval

QUICK = settings(deadline=None, max_examples=60, derandomize=True)

score_lists = st.lists(
    st.one_of(st.integers(-3, 3).map(float), st.sampled_from([math.inf, -math.inf])),
    min_size=1,
    max_size=12,
)


@st.composite
def rankings(draw):
    scores = draw(score_lists)
    return scores, draw(st.integers(0, len(scores) - 1)), draw(st.integers(1, 6))


def slow_ndcg(order: list[int], positive: int, k: int) -> float:
    """DCG over the ideal DCG, both summed over the first k of a ranking."""
    relevance = [float(index == positive) for index in order]

    def gain(values):
        return sum(value / math.log2(rank + 2) for rank, value in enumerate(values[:k]))

    return gain(relevance) / gain(sorted(relevance, reverse=True))


def slow_order(scores: list[float], positive: int, positive_last: bool) -> list[int]:
    def key(index):
        return (-scores[index], (index == positive) == positive_last)

    return sorted(range(len(scores)), key=key)


@QUICK
@given(rankings())
def test_ndcg_equals_transcription(ranking):
    scores, positive, k = ranking
    worst = slow_ndcg(slow_order(scores, positive, positive_last=True), positive, k)
    best = slow_ndcg(slow_order(scores, positive, positive_last=False), positive, k)
    stable = sorted(range(len(scores)), key=lambda index: (-scores[index], index))
    assert retrieval.ndcg(scores, positive, k) == pytest.approx(worst)
    assert retrieval.ndcg(scores, positive, k, "optimistic") == pytest.approx(best)
    assert retrieval.ndcg(scores, positive, k, "stable") == pytest.approx(
        slow_ndcg(stable, positive, k)
    )


@QUICK
@given(rankings())
def test_bounds_and_order_of_the_tie_rules(ranking):
    found = [retrieval.ndcg(*ranking, ties) for ties in ("pessimistic", "average", "optimistic")]
    assert 0.0 <= found[0] <= found[1] + 1e-12 <= found[2] + 2e-12 <= 1.0 + 2e-12
    assert found[0] <= retrieval.ndcg(*ranking, "stable") <= found[2]


@QUICK
@given(rankings(), st.randoms(use_true_random=False))
def test_order_of_the_candidates_does_not_count(ranking, random):
    scores, positive, k = ranking
    order = list(range(len(scores)))
    random.shuffle(order)
    moved = [scores[index] for index in order]
    for ties in ("pessimistic", "optimistic", "average"):
        assert retrieval.ndcg(moved, order.index(positive), k, ties) == retrieval.ndcg(
            scores, positive, k, ties
        )


@QUICK
@given(rankings())
def test_only_the_order_of_the_scores_counts(ranking):
    scores, positive, k = ranking
    stretched = [math.atan(score) for score in scores]
    assert retrieval.ndcg(stretched, positive, k) == retrieval.ndcg(scores, positive, k)


def test_average_is_the_mean_over_all_orders_of_the_tied():
    scores, positive, k = [1.0, 0.0, 0.0, 0.0, -1.0], 2, 3
    tied = [index for index, score in enumerate(scores) if score == 0.0]
    found = [slow_ndcg([0, *order, 4], positive, k) for order in permutations(tied)]
    assert retrieval.ndcg(scores, positive, k, "average") == pytest.approx(np.mean(found))


def test_average_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="needs scikit-learn, an extra oracle")
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 8, size=20).astype(float)
        positive = int(rng.integers(20))
        relevance = np.eye(20)[positive]
        assert retrieval.ndcg(scores, positive, 5, "average") == pytest.approx(
            metrics.ndcg_score([relevance], [scores], k=5)
        )


@pytest.mark.parametrize("rank", range(1, 8))
def test_closed_form(rank):
    scores = list(range(10, 0, -1))
    expected = 1 / math.log2(rank + 1) if rank <= 5 else 0.0
    assert retrieval.ndcg(scores, rank - 1) == pytest.approx(expected)


def test_refuses_what_cannot_be_ranked():
    with pytest.raises(ValueError, match="candidate 1 is NaN"):
        retrieval.ndcg([0.0, math.nan], 0)
    with pytest.raises(ValueError, match="positive_index 2"):
        retrieval.ndcg([0.0, 1.0], 2)
    with pytest.raises(ValueError, match="positive_index -1"):
        retrieval.ndcg([0.0, 1.0], -1)
    with pytest.raises(ValueError, match="k must be"):
        retrieval.ndcg([0.0, 1.0], 0, 0)
    with pytest.raises(ValueError, match=r"'lucky'.*pessimistic"):
        retrieval.ndcg([0.0, 1.0], 0, 5, "lucky")


def test_utility_wants_one_score_per_candidate():
    instance = Instance("q-1", "retrieval", "test", 1, "1.png", "", (), ("a", "b", "c"), 0)
    assert retrieval.utility([3.0, 2.0, 1.0], instance) == 1.0
    assert retrieval.utility([1.0, 1.0, 1.0], instance) == 0.5
    with pytest.raises(ValueError, match=r"q-1.*2 scores for 3 candidates"):
        retrieval.utility([1.0, 2.0], instance)
