"""The paired bootstrap against a slow transcription, and its behaviour under known truths."""

import numpy as np
import pytest

from hones_core import statistics
from hones_core.statistics import (
    AlignmentError,
    Estimate,
    Sampled,
    bootstrap_counts,
    check_aligned,
    combine,
    difference,
    interval,
    mean_of,
    p_value,
    relative_drop,
    resampled_totals,
    sample_scores,
    spread,
    summarize,
)
from hones_core.tasks import TASKS


def mean_score(totals, n):
    return np.asarray(totals)[..., 0] / n


def bleu_like(totals, n):
    """A corpus ratio: geometric mean of precisions times a brevity penalty, from 10 sums."""
    totals = np.asarray(totals)
    precision = np.prod(totals[..., :4] / totals[..., 4:8], axis=-1) ** 0.25
    return precision * np.minimum(1.0, np.exp(1 - totals[..., 9] / totals[..., 8]))


def caption_statistics(generator, n, quality):
    lengths = generator.integers(8, 14, size=n)
    totals = np.stack([lengths - order for order in range(4)], axis=1)
    matches = generator.binomial(totals, quality / (1 + 0.2 * np.arange(4)))
    references = lengths + generator.integers(-1, 2, size=n)
    return np.column_stack([matches, totals, lengths, references]).astype(float)


def indices_of(counts_row):
    """A resample written out: each instance as often as it was drawn."""
    return [i for i, count in enumerate(counts_row) for _ in range(count)]


def test_counts_are_resamples_of_full_size_and_repeatable():
    counts = bootstrap_counts(50, 200, seed=3)
    assert counts.shape == (200, 50)
    assert (counts.sum(axis=1) == 50).all()
    np.testing.assert_array_equal(counts, bootstrap_counts(50, 200, seed=3))
    assert (counts != bootstrap_counts(50, 200, seed=4)).any()
    # Every instance is drawn once on average: 200 * 50 draws over 50 instances.
    drawn = counts.sum(axis=0).astype(float)
    assert drawn.mean() == pytest.approx(200)
    assert np.abs(drawn - 200).max() < 6 * np.sqrt(200)


def test_blocks_change_neither_draws_nor_sums(monkeypatch):
    values = np.random.default_rng(0).random((40, 3))
    counts = bootstrap_counts(40, 101, seed=1)
    totals = resampled_totals(counts, values)
    monkeypatch.setattr(statistics, "BLOCK_ELEMENTS", 7 * 40)
    np.testing.assert_array_equal(bootstrap_counts(40, 101, seed=1), counts)
    np.testing.assert_allclose(resampled_totals(counts, values), totals, rtol=1e-14)


@pytest.mark.parametrize("n, resamples", [(0, 10), (10, 0)])
def test_counts_need_instances_and_resamples(n, resamples):
    with pytest.raises(ValueError, match="needs instances"):
        bootstrap_counts(n, resamples, seed=0)


def compare(base, seeds, score, counts, measure=difference) -> Estimate:
    """`seeds` [N, S] each against `base` [N, S], as the tables compose it: the mean over seeds."""
    unmasked, *masked = sample_scores([base, *seeds], counts, score)
    return summarize(mean_of([combine(measure, unmasked, one) for one in masked]))


@pytest.mark.parametrize("score", [mean_score, bleu_like])
@pytest.mark.parametrize("measure", [difference, relative_drop])
def test_matmul_equals_explicit_resampling(score, measure):
    """METHOD 11 word by word: draw instances, score both systems on them, compare, repeat."""
    generator = np.random.default_rng(1)
    base = caption_statistics(generator, 37, 0.8)
    seeds = [caption_statistics(generator, 37, quality) for quality in (0.6, 0.5, 0.7)]
    counts = bootstrap_counts(37, 83, seed=5)

    compared = []
    for row in counts:
        drawn = indices_of(row)
        of_base = float(score(sum(base[i] for i in drawn), 37))
        of_seeds = [float(score(sum(system[i] for i in drawn), 37)) for system in seeds]
        masked = sum(of_seeds) / len(of_seeds)
        compared.append(
            masked - of_base if measure is difference else (of_base - masked) / of_base * 100
        )
    compared = np.array(compared)
    tails = min(sum(v <= 0 for v in compared), sum(v >= 0 for v in compared))
    masked = np.mean([score(system.sum(axis=0), 37) for system in seeds])
    of_base = score(base.sum(axis=0), 37)
    expected = masked - of_base if measure is difference else (1 - masked / of_base) * 100

    found = compare(base, seeds, score, counts, measure)
    assert found.estimate == pytest.approx(expected)
    assert found.mean == pytest.approx(compared.mean())
    assert found.sd == pytest.approx(compared.std(ddof=1))
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(compared, [0.025, 0.975])))
    assert found.p == pytest.approx(min(1, (2 * tails + 1) / 84))


def test_pairing_removes_what_both_systems_share():
    generator = np.random.default_rng(3)
    base = generator.random((400, 1)) * 10
    system = base + 0.01 + generator.normal(0, 0.005, size=base.shape)
    found = compare(base, [system], mean_score, bootstrap_counts(400, 500, seed=0))
    assert found.sd < 0.001  # the unpaired standard error is 0.2
    assert found.low > 0


def test_identical_systems_have_no_effect_and_p_one():
    system = np.random.default_rng(4).random((25, 1))
    found = compare(system, [system.copy()], mean_score, bootstrap_counts(25, 200, seed=0))
    assert (found.estimate, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


def test_rounding_noise_does_not_decide_a_tail():
    assert p_value(np.full(99, 1e-13)) == 1.0
    assert p_value(np.full(99, 0.1)) == pytest.approx(1 / 100)
    assert p_value(np.array([-1.0, 1, 1, 1, 1, 1, 1, 1, 1])) == pytest.approx(3 / 10)


def test_difference_of_drops_uses_the_same_resamples():
    generator = np.random.default_rng(5)
    base, hones, random = (generator.random((60, 1)) < q for q in (0.9, 0.5, 0.85))
    counts = bootstrap_counts(60, 400, seed=2)
    scores = sample_scores([x.astype(float) for x in (base, hones, random)], counts, mean_score)
    drops = [combine(relative_drop, scores[0], masked) for masked in scores[1:]]
    excess = combine(difference, drops[1], drops[0])
    by_hand = (scores[2].resamples - scores[1].resamples) / scores[0].resamples * 100
    np.testing.assert_allclose(excess.resamples, by_hand)
    assert excess.value == pytest.approx((random.sum() - hones.sum()) / base.sum() * 100)


def test_relative_drop():
    assert relative_drop(0.8, 0.6) == pytest.approx(25.0)
    assert relative_drop(0.5, 0.6) == pytest.approx(-20.0)
    assert np.isnan(relative_drop(0.0, 0.3))
    np.testing.assert_allclose(relative_drop(np.array([1.0, 2.0]), np.array([0.5, 2.0])), [50, 0])


def test_undefined_resamples():
    """A few resamples without a score are left out; as many as a tail holds leave no interval."""
    values = np.arange(100.0)
    values[:2] = np.nan
    kept = summarize(Sampled(50.0, values))
    assert kept.low == pytest.approx(np.quantile(values[2:], 0.025))
    values[2] = np.nan
    lost = summarize(Sampled(50.0, values))
    assert lost.estimate == 50.0
    assert np.isnan([lost.mean, lost.sd, lost.low, lost.high, lost.p]).all()
    assert np.isnan(summarize(Sampled(float("nan"), np.arange(9.0))).low)


def test_interval_and_spread():
    assert interval(np.arange(101.0), 0.9) == pytest.approx((5.0, 95.0))
    with pytest.raises(ValueError, match="between 0 and 1"):
        interval(np.arange(3.0), 95)
    assert spread([1.0, 2.0, 3.0]) == (1.0, 1.0, 3.0)
    assert np.isnan(spread([2.0])[0])


def test_mean_of_seeds():
    mean = mean_of([Sampled(1.0, np.array([1.0, 2.0])), Sampled(3.0, np.array([3.0, 6.0]))])
    assert mean.value == 2.0
    np.testing.assert_array_equal(mean.resamples, [2.0, 4.0])


def simulated(generator, replicates, n, effect):
    """Paired comparisons of two noisy systems whose true difference of means is `effect`."""
    for replicate in range(replicates):
        shared = generator.normal(size=n)
        base = (shared + generator.normal(size=n))[:, None]
        system = (shared + effect + generator.normal(size=n))[:, None]
        counts = bootstrap_counts(n, 199, seed=replicate)
        yield compare(base, [system], mean_score, counts)


def test_p_is_uniform_without_an_effect():
    p = np.sort([found.p for found in simulated(np.random.default_rng(6), 400, 60, 0.0)])
    distance = np.abs(p - (np.arange(400) + 0.5) / 400).max()
    assert distance < 1.63 / np.sqrt(400)  # Kolmogorov-Smirnov at 1 %; the seed is fixed
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_intervals_cover_the_truth():
    truth = 0.3
    covered = [
        found.low <= truth <= found.high
        for found in simulated(np.random.default_rng(7), 400, 60, truth)
    ]
    assert 0.91 < np.mean(covered) < 0.98


def test_shapes_that_differ_are_refused():
    counts = bootstrap_counts(5, 10, seed=0)
    with pytest.raises(AlignmentError, match="system 1 has statistics"):
        sample_scores([np.ones((5, 1)), np.ones((4, 1))], counts, mean_score)
    with pytest.raises(AlignmentError, match="system 1"):
        sample_scores([np.ones((5, 1)), np.ones((5, 2))], counts, mean_score)


def test_statistics_that_are_not_finite_are_refused():
    broken = np.ones((5, 1))
    broken[3] = np.nan
    with pytest.raises(ValueError, match="system 1, row 3"):
        sample_scores([np.ones((5, 1)), broken], bootstrap_counts(5, 10, seed=0), mean_score)


@pytest.mark.parametrize(
    "other, message",
    [
        (["vqa/1", "vqa/9", "vqa/3"], "instance 1 is 'vqa/9', not 'vqa/2'"),
        (["vqa/1", "vqa/2"], "first missing is 'vqa/3'"),
        (["vqa/1", "vqa/2", "vqa/3", "vqa/4"], "first superfluous is 'vqa/4'"),
    ],
)
def test_misaligned_instances_are_named(other, message):
    with pytest.raises(AlignmentError, match=f"masked.*{message}"):
        check_aligned(["vqa/1", "vqa/2", "vqa/3"], other, "masked")
    check_aligned(["vqa/1"], ["vqa/1"], "masked")


@pytest.mark.parametrize("name", list(TASKS))
def test_registered_tasks_score_all_resamples_at_once(name):
    """`sample_scores` hands a task sums of shape [B, K, S]; each must be scored by itself."""
    task = TASKS[name]
    generator = np.random.default_rng(8)
    systems = [
        caption_statistics(generator, 20, 0.7)[:, : len(task.STATISTICS)] / 20 for _ in range(3)
    ]
    counts = bootstrap_counts(20, 11, seed=0)
    for system, found in zip(systems, sample_scores(systems, counts, task.score), strict=True):
        assert found.value == pytest.approx(task.score(system.sum(axis=0), 20))
        rows = [task.score(counts_row @ system, 20) for counts_row in counts.astype(float)]
        np.testing.assert_allclose(found.resamples, rows)
