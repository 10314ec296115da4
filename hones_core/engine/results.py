"""What an engine finds, whichever it is: answers and rankings, before any task scores them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """Greedy tokens of one prompt, and log-probabilities of its target in nat.

    target_logprob is the mean over the target's tokens, first_logprob that of the first, both
    teacher-forced; NaN where no target is scored. close: a choice was made by less than the
    engine's margin, so that another order of sums might have made it otherwise.
    """

    tokens: list[int]
    target_logprob: float
    first_logprob: float
    close: bool = False


@dataclass(frozen=True)
class Ranked:
    """One query: logit(Yes) - logit(No) of each candidate, and the positive's log p(Yes) in nat.

    doubtful: the candidates on whose margins the positive's rank or the best candidate hangs by
    less than the engine's margin.
    """

    margins: list[float]
    positive_logprob: float
    doubtful: tuple[int, ...] = ()

    @property
    def close(self) -> bool:
        return bool(self.doubtful)
