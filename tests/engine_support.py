"""What the tests of the engine share: what an engine found before a task scored it."""

from collections.abc import Mapping, Sequence
from unittest import mock

import torch
from model_support import Tiny
from torch import Tensor

from hones_core.engine.evaluate import Evaluator, Prepared
from hones_core.engine.fast import Limits
from hones_core.engine.interventions import Intervention
from hones_core.engine.results import Answer, Ranked
from hones_core.tasks.instances import Instance

ENGINES = ("fast", "plain")
# The fixtures of model_fixtures on which engines are compared; each has the interface of `Tiny`.
FAMILIES = ("tiny", "grouped")


class WatchedEvaluator(Evaluator):
    """Gives what its engine found, beside what the task makes of it.

    `forced` are target token ids by instance that stand for the task's own.
    """

    forced: Mapping[str, Sequence[int]] | None = None

    def results_under(
        self, prepared: Prepared, interventions: Mapping[str, Intervention | None]
    ) -> dict[str, list[Answer | Ranked]]:
        """An answer or ranking per instance under every intervention."""
        self._seen: list[Answer | Ranked] = []
        labels, n = list(self.outcomes_under(prepared, interventions)), len(prepared.instances)
        return {label: self._seen[i * n : (i + 1) * n] for i, label in enumerate(labels)}

    def results(
        self, instances: Sequence[Instance], intervention: Intervention | None = None
    ) -> list[Answer | Ranked]:
        """An answer or ranking per instance under one intervention."""
        return self.results_under(self.prepare(instances), {"": intervention})[""]

    def _outcome(self, instance: Instance, result: Answer | Ranked):
        outcome = super()._outcome(instance, result)
        if hasattr(self, "_seen"):
            self._seen.append(result)
        return outcome

    def _targets(self, instances: Sequence[Instance]) -> list[list[int]]:
        if self.forced is None:
            return super()._targets(instances)
        return [list(self.forced[item.instance_id]) for item in instances]


def watched(
    tiny: Tiny,
    task: str,
    engine: str = "fast",
    batch_size: int = 4,
    max_new_tokens: int = 6,
    close_margin: float | None = 0.0,
    **options,
) -> WatchedEvaluator:
    """An evaluator that is watched; it settles no close call unless a margin is given."""
    return WatchedEvaluator(
        tiny.adapter,
        task,
        tiny.images,
        batch_size,
        max_new_tokens,
        engine,
        close_margin=close_margin,
        **options,
    )


def candidate_logits(
    evaluator: Evaluator, prepared: Prepared, intervention: Intervention | None = None
) -> Tensor:
    """Logits [N, V] at the end of every candidate's prompt, from which an engine ranks them."""
    adapter, seen = evaluator.adapter, []
    logits = adapter.logits

    def keep(hidden: Tensor) -> Tensor:
        seen.append(logits(hidden))
        return seen[-1]

    with mock.patch.object(adapter, "logits", keep):
        evaluator.outcomes(prepared, intervention)
    return torch.cat(seen)


def hooks_of(adapter) -> int:
    """How many hooks there are in the model."""
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks)
        for module in adapter.model.modules()
    )


def small_limits(copies: int = 3, decode_rows: int = 5, candidate_rows: int = 3) -> Limits:
    """Limits that every test exceeds, so that work is split."""
    return Limits(copies, decode_rows, candidate_rows)
