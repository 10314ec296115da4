"""Planted models with instances to ask them, and what happens when parts of them are silenced."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import Intervention, applied
from hones_core.models.adapter import Adapter, Batch
from hones_core.planted.circuit import Strengths
from hones_core.planted.families import FAMILIES
from hones_core.planted.plan import plan, truth
from hones_core.planted.world import CONTENTS, ROW_LENGTH
from hones_core.predictions import outcomes_under
from hones_core.tasks.instances import Instance

SEED = 0
N_IMAGES = 2 * CONTENTS
INTACT = 0.99  # a utility above is that of a model that answers as it should

# Utility that a broken circuit may keep: of seven colours one is right by chance, a caption or a
# transcription is never right by chance, and a random order of six candidates has NDCG@5 0.49.
BROKEN = {"vqa": 0.3, "ocr": 0.1, "caption": 0.1, "retrieval": 0.6}


@dataclass(frozen=True)
class World:
    """The images of a session, and every task's instances."""

    folder: Path
    instances: dict[str, list[Instance]]

    def evaluator(self, adapter: Adapter, task: str, engine: str = "fast") -> Evaluator:
        return Evaluator(adapter, task, self.folder, 64, ROW_LENGTH + 1, engine)

    def utility(
        self, adapter: Adapter, task: str, interventions: dict[str, Intervention | None]
    ) -> pd.Series:
        """Mean utility of the task under each intervention, from whole answers and rankings."""
        results = outcomes_under(self.evaluator(adapter, task), self.instances[task], interventions)
        rows = [(label, outcome.utility) for label, outcome in results]
        return pd.DataFrame(rows, columns=["label", "utility"]).groupby("label")["utility"].mean()

    def margins(
        self, adapter: Adapter, task: str, interventions: Sequence[Intervention | None]
    ) -> list[float]:
        """Mean logits by which the right first word wins, by plain forward passes.

        For retrieval: by which Yes wins on the positive candidate more than on another.
        """
        items, evaluator = self.instances[task], self.evaluator(adapter, task)
        first = torch.tensor([evaluator.target_ids(item)[0][0] for item in items])
        batches = [evaluator.encode(items)]
        if task == "retrieval":
            negatives = [item.candidates[item.positive_index - 1] for item in items]
            batches.append(evaluator.encode(items, negatives))
        found = []
        for intervention in interventions:
            with torch.inference_mode(), applied(adapter, *filter(None, [intervention])):
                won = [won_by(last_logits(adapter, batch), first) for batch in batches]
            found.append(float((won[0] - won[1] if len(won) > 1 else won[0]).mean()))
        return found


def won_by(logits: Tensor, first: Tensor) -> Tensor:
    """Logit of the token `first` [B] less the largest other one of logits [B, V]: [B]."""
    others = logits.scatter(1, first[:, None], -torch.inf).amax(1)
    return logits.gather(1, first[:, None])[:, 0] - others


def last_logits(adapter: Adapter, batch: Batch) -> Tensor:
    """Logits [B, V] behind the last prompt token."""
    return adapter.logits(adapter.hidden_states(batch)[:, -1])


@cache
def model(family: str, strength: float = 1.0, blind_spot: str = "") -> tuple[Adapter, pd.DataFrame]:
    """A planted model with distractors of the strength, and its truth."""
    planted = plan(Strengths.all(strength), SEED, blind_spot)
    return FAMILIES[family](planted), truth(planted)
