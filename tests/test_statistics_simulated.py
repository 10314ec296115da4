"""The paired bootstrap under known truths: p uniform under a null, intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from hones_core.statistics import (
    Sampled,
    bootstrap_counts,
    difference,
    p_value,
    resampled_totals,
    sample_scores,
    summarize,
)

N, RESAMPLES, TRIALS = 300, 999, 4000
ALIKE = 0.6  # of two systems' scores, which share their instances


def paired_scores(generator, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N, TRIALS] of two systems on the same instances, as skewed as accuracies are."""
    shared = generator.beta(0.5, 0.3, (N, TRIALS))
    base, system = (
        ALIKE * shared + (1 - ALIKE) * generator.beta(0.5, 0.3, (N, TRIALS)) for _ in range(2)
    )
    return base, system + gain


@pytest.fixture(scope="module")
def counts():
    return bootstrap_counts(N, RESAMPLES, seed=0)


@pytest.mark.parametrize("gain", [0.0, 0.04])
def test_p_is_uniform_under_the_null_and_intervals_cover(counts, gain):
    generator = np.random.default_rng(7)
    base, system = paired_scores(generator, gain)
    deltas = resampled_totals(counts, system - base) / N  # [RESAMPLES, TRIALS]
    low, high = np.quantile(deltas, [0.025, 0.975], axis=0)
    assert np.mean((low <= gain) & (gain <= high)) == pytest.approx(0.95, abs=0.015)
    p = np.array([p_value(column) for column in deltas.T])
    if gain == 0:
        assert stats.kstest(p, "uniform").pvalue > 1e-3
        assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.015)
    else:
        assert np.mean(p <= 0.05) > 0.3


def test_a_corpus_score_too(counts):
    """A ratio of sums, as corpus BLEU's precisions are: no mean of the instances' scores."""
    generator = np.random.default_rng(3)

    def ratio(totals, n):
        return totals[..., 0] / totals[..., 1]

    p, covered = [], []
    for _ in range(800):
        lengths = generator.integers(5, 15, N).astype(float)
        shared = generator.random(N)
        systems = []
        for _ in range(2):
            rates = 0.7 * shared + 0.3 * generator.random(N)
            matches = generator.binomial(lengths.astype(int), rates)
            systems.append(np.column_stack([matches, lengths]))
        base, system = sample_scores(systems, counts, ratio)
        delta = Sampled(
            float(difference(base.value, system.value)),
            difference(base.resamples, system.resamples),
        )
        found = summarize(delta)
        p.append(found.p)
        covered.append(found.low <= 0 <= found.high)
    assert stats.kstest(p, "uniform").pvalue > 1e-3
    assert np.mean(covered) == pytest.approx(0.95, abs=0.025)  # 800 trials: two standard errors
