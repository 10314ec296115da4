"""Optional screening of heads: leave those that can't be among the best out of later samples.

Successive elimination. The score of a head is its mean loss over N given samples; after n of them,
in random order, it is known up to `z` standard errors of a sample drawn without replacement. A head
whose upper end lies below the lower end of the K-th best is measured no further. Survivors are
measured on all samples, so that their scores, and the order among them, are exact.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hones_core.head_utilities import check_top_heads, head_drops

RULES = ("successive_elimination",)


@dataclass(frozen=True)
class Screening:
    """When a head is left out: bounds of `z` standard errors, the `top_heads` best, the utility.

    No head is left out before `min_samples` samples. `utility` is one of head_utilities.UTILITIES.
    """

    top_heads: int
    z: float = 3.0
    utility: str = "task_metric"
    min_samples: int = 32
    rule: str = RULES[0]

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"unknown screening rule {self.rule!r}; known: {', '.join(RULES)}")


class Elimination:
    """Successive elimination as samples come in: `left` [heads] says which are still measured."""

    def __init__(self, screening: Screening, n_heads: int, n_samples: int):
        check_top_heads(screening.top_heads, n_heads)
        self.screening = screening
        self.n_samples = n_samples
        self.seen = 0
        self.left = np.ones(n_heads, dtype=bool)
        self._sums = np.zeros((2, n_heads))  # of the losses, of their squares

    def add(self, drops: np.ndarray) -> None:
        """Take the losses [B, heads] of further samples; those of heads left out may be NaN."""
        drops = np.where(self.left, drops, 0)
        self.seen += len(drops)
        self._sums += drops.sum(0), np.square(drops).sum(0)
        if self.screening.min_samples <= self.seen < self.n_samples:
            self._eliminate()

    def _eliminate(self) -> None:
        n = self.seen
        total, squares = self._sums
        mean = total / n
        variance = np.maximum(squares / n - mean**2, 0) * n / max(n - 1, 1)
        # Without replacement: nothing is uncertain once all samples were seen.
        width = self.screening.z * np.sqrt(variance / n * (1 - n / self.n_samples))
        lower = np.where(self.left, mean - width, -np.inf)
        kth_best = np.partition(lower, -self.screening.top_heads)[-self.screening.top_heads]
        self.left &= mean + width >= kth_best


class HeadScreen:
    """Elimination that is fed with rows of the HEAD_EFFECTS artifact, chunk by chunk."""

    def __init__(self, screening: Screening, heads: list[tuple[int, int]], n_samples: int):
        self.heads = heads
        self.elimination = Elimination(screening, len(heads), n_samples)

    @property
    def left(self) -> list[tuple[int, int]]:
        """The heads that are measured on the next chunk."""
        return [head for head, left in zip(self.heads, self.elimination.left, strict=True) if left]

    def add(self, effects: pd.DataFrame) -> None:
        """Take one chunk: the base and every head in `left`."""
        drops = head_drops(effects, self.elimination.screening.utility)
        self.elimination.add(drops.reindex(columns=self.heads).to_numpy())
