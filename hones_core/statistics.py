"""Paired bootstrap over test instances (METHOD 11; paper appendix F.3).

A system is the `statistics` matrix of its predictions, [N, S]: one row of additive sufficient
statistics an instance. A task's `score(totals, n)` turns summed statistics [..., S] of n instances
into the score [...], so that a corpus metric such as BLEU-4 is recomputed for each resample.
All systems of a comparison are scored on the same B resamples, held as counts [B, N].
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Score = Callable[[np.ndarray, int], np.ndarray]

BLOCK_ELEMENTS = 4_000_000  # numbers held at once while drawing and summing: 32 MB as float64
NO_SCORE = 1e-6  # a corpus BLEU without one common 4-gram is not exactly 0
TIE = 1e-9  # two systems closer than this are equal: rounding of sums must not decide a tail


class AlignmentError(ValueError):
    """Systems that were not run on the same instances in the same order."""


@dataclass(frozen=True)
class Sampled:
    """A quantity on the instances themselves (`value`) and on each resample ([B])."""

    value: float
    resamples: np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A quantity with its bootstrap mean, sd, interval and two-sided p against 0."""

    estimate: float
    mean: float
    sd: float
    low: float
    high: float
    p: float


NO_ESTIMATE = Estimate(*[float("nan")] * 6)  # of what does not exist, such as an empty group


def bootstrap_counts(n: int, resamples: int, seed: int | Sequence[int]) -> np.ndarray:
    """How often each of `n` instances is in each resample of size `n`: unsigned ints [B, N].

    The same (n, resamples, seed) always give the same counts. Raises ValueError if n or resamples
    is not positive.
    """
    if n < 1 or resamples < 1:
        raise ValueError(f"a bootstrap needs instances and resamples, not {n} and {resamples}")
    generator = np.random.default_rng(seed)
    counts = np.empty((resamples, n), dtype=np.min_scalar_type(n))  # no count exceeds n
    for start, stop in _blocks(resamples, n):
        drawn = generator.integers(n, size=(stop - start, n))
        drawn += np.arange(stop - start)[:, None] * n
        flat = np.bincount(drawn.ravel(), minlength=(stop - start) * n)
        counts[start:stop] = flat.reshape(-1, n)
    return counts


def resampled_totals(counts: np.ndarray, statistics: np.ndarray) -> np.ndarray:
    """Sums of `statistics` [N, C] over each resample of `counts` [B, N]: [B, C]."""
    totals = np.empty((len(counts), statistics.shape[1]))
    for start, stop in _blocks(*counts.shape):
        np.matmul(counts[start:stop].astype(np.float64), statistics, out=totals[start:stop])
    return totals


def sample_scores(systems: Sequence[np.ndarray], counts: np.ndarray, score: Score) -> list[Sampled]:
    """Each system's score on the instances and on every resample.

    `systems` are statistics matrices [N, S] over the same instances in the same order. Raises
    AlignmentError if their shapes or the width of `counts` differ, ValueError on NaN.
    """
    n = counts.shape[1]
    for place, system in enumerate(systems):
        if system.ndim != 2 or len(system) != n or system.shape[1] != systems[0].shape[1]:
            raise AlignmentError(
                f"system {place} has statistics {list(system.shape)}, but the resamples are of "
                f"{n} instances and system 0 has {list(systems[0].shape)}"
            )
        if not np.isfinite(system).all():
            row = int(np.flatnonzero(~np.isfinite(system).all(axis=1))[0])
            raise ValueError(f"system {place}, row {row}: statistics are not finite")
    stacked = np.stack([system.astype(np.float64) for system in systems], axis=1)  # [N, K, S]
    observed = score(stacked.sum(axis=0), n)
    totals = resampled_totals(counts, stacked.reshape(n, -1))
    resampled = score(totals.reshape(len(counts), *stacked.shape[1:]), n)  # [B, K]
    return [Sampled(float(observed[k]), resampled[:, k]) for k in range(len(systems))]


def combine(function: Callable[..., np.ndarray], *quantities: Sampled) -> Sampled:
    """`function` of quantities over the same resamples, such as a difference of two scores."""
    value = float(function(*(quantity.value for quantity in quantities)))
    return Sampled(value, function(*(quantity.resamples for quantity in quantities)))


def mean_of(quantities: Sequence[Sampled]) -> Sampled:
    """The mean of quantities over the same resamples: seeds of a random control, or tasks.

    With seeds this is the score of one fixed control, the average over its seeds. Its interval is
    that of the instances; what the choice of seeds adds is reported apart, by `spread`.
    """
    return combine(lambda *values: np.mean(values, axis=0), *quantities)


def difference(base: np.ndarray, system: np.ndarray) -> np.ndarray:
    """`system - base`, elementwise."""
    return system - base


def relative_drop(base: np.ndarray | float, masked: np.ndarray | float) -> np.ndarray:
    """`(base - masked) / base * 100` in percent, elementwise (METHOD 7).

    NaN where the base scores nothing (less than NO_SCORE): there is nothing to lose, and a share of
    it would be an arbitrary number.
    """
    base, masked = np.asarray(base, dtype=np.float64), np.asarray(masked, dtype=np.float64)
    defined = np.abs(base) >= NO_SCORE
    return np.where(defined, (base - masked) / np.where(defined, base, 1.0) * 100.0, np.nan)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central percentile interval of `values` [B] that holds `level` of them.

    Raises ValueError if level is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"the level of an interval is between 0 and 1, not {level}")
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def p_value(values: np.ndarray) -> float:
    """Two-sided bootstrap p of `values` [B] against 0 (paper F.3).

    `min(1, (2 min(#{<= 0}, #{>= 0}) + 1) / (B + 1))`; values within TIE of 0 are in both tails.
    """
    tails = min(int((values <= TIE).sum()), int((values >= -TIE).sum()))
    return min(1.0, (2 * tails + 1) / (len(values) + 1))


def summarize(quantity: Sampled, level: float = 0.95) -> Estimate:
    """The estimate of a quantity with bootstrap mean, sd, `level` interval and p against 0.

    A relative drop is undefined on resamples where the base scores 0. They are left out as long as
    they are fewer than one tail of the interval holds; beyond that (or if the value itself is
    undefined) the interval's ends are not determined, and everything else is NaN.
    """
    defined = quantity.resamples[~np.isnan(quantity.resamples)]
    undefined_share = 1 - len(defined) / len(quantity.resamples)
    if np.isnan(quantity.value) or undefined_share > (1 - level) / 2:
        return Estimate(quantity.value, *[float("nan")] * 5)
    sd = float(defined.std(ddof=1)) if len(defined) > 1 else float("nan")
    low, high = interval(defined, level)
    return Estimate(quantity.value, float(defined.mean()), sd, low, high, p_value(defined))


def spread(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Standard deviation (n - 1; NaN for one value), minimum and maximum, over seeds or trials."""
    numbers = np.asarray(values, dtype=np.float64)
    sd = float(numbers.std(ddof=1)) if len(numbers) > 1 else float("nan")
    return sd, float(numbers.min()), float(numbers.max())


def check_aligned(reference: Sequence[str], other: Sequence[str], what: str) -> None:
    """Check that `other`'s instance ids equal `reference`'s, in order.

    Raises AlignmentError that names `what` and the first instance that differs.
    """
    for place, (expected, found) in enumerate(zip(reference, other, strict=False)):
        if expected != found:
            raise AlignmentError(f"{what}: instance {place} is {found!r}, not {expected!r}")
    if len(reference) != len(other):
        longer, fault = (other, "superfluous")
        if len(reference) > len(other):
            longer, fault = (reference, "missing")
        first = longer[min(len(reference), len(other))]
        raise AlignmentError(
            f"{what}: {len(other)} instances, not {len(reference)}; the first {fault} is {first!r}"
        )


def _blocks(rows: int, width: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows that hold about BLOCK_ELEMENTS numbers each."""
    step = max(1, BLOCK_ELEMENTS // width)
    for start in range(0, rows, step):
        yield start, min(start + step, rows)
