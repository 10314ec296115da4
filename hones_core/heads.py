"""Head localization: mean-replace one head at a time and record what the task loses (METHOD 4)."""

from collections.abc import Sequence

import pandas as pd

from hones_core.benchmark.seeding import seeded_order
from hones_core.engine.evaluate import Evaluator, Outcome
from hones_core.engine.interventions import MeanReplaceHead
from hones_core.measuring import outcomes_by_chunk
from hones_core.partial import Parts
from hones_core.schemas.heads import BASE, HEAD_EFFECTS
from hones_core.screening import HeadScreen, Screening
from hones_core.tasks.instances import Instance


def measure_head_effects(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    positions: str = "all",
    parts: Parts | None = None,
    screening: Screening | None = None,
) -> pd.DataFrame:
    """Outcome of every instance with each head mean-replaced, and of the unchanged model.

    Returns the HEAD_EFFECTS artifact: (L * H + 1) * N rows. `positions` as in MeanReplaceHead;
    `parts` keeps what each chunk gave, for a job that may be killed. With `screening` the chunks
    come in a seeded order, and the rows of a head on the chunks after it was left out are missing.
    """
    adapter = evaluator.adapter
    settings: dict[tuple[int, int], MeanReplaceHead | None] = {(BASE, BASE): None}
    for layer in range(adapter.n_layers):
        for head in range(adapter.n_heads):
            settings[layer, head] = MeanReplaceHead(layer, head, positions)
    chunks = evaluator.chunks(instances)
    screen = None
    if screening is not None:
        chunks = _shuffled(chunks)
        screen = HeadScreen(screening, list(settings)[1:], len(instances))

    def measured() -> dict[tuple[int, int], MeanReplaceHead | None]:
        if screen is None:
            return settings
        return {place: settings[place] for place in [(BASE, BASE), *screen.left]}

    def label() -> str:
        return f"{evaluator.task_name} head effects, {len(measured()) - 1} heads"

    frames = [pd.DataFrame(columns=HEAD_EFFECTS.names)] if not chunks else []
    for found in outcomes_by_chunk(evaluator, chunks, measured, label, parts):
        rows = [_row(*place, outcome) for place, results in found.items() for outcome in results]
        frames.append(pd.DataFrame(rows))  # a thousand heads of dicts are too large to collect
        if screen is not None:
            screen.add(frames[-1])
    return pd.concat(frames, ignore_index=True)


def _shuffled(chunks: Sequence[Sequence[Instance]]) -> list[Sequence[Instance]]:
    """The chunks in an order that does not depend on the one in which they are given."""
    by_first = {chunk[0].instance_id: chunk for chunk in chunks}
    return [by_first[name] for name in seeded_order(by_first, 0, "screening")]


def _row(layer: int, head: int, outcome: Outcome) -> dict:
    return {
        "layer": layer,
        "head": head,
        "instance_id": outcome.instance_id,
        "utility": outcome.utility,
        "target_logprob": outcome.target_logprob,
        "first_token_logprob": outcome.first_token_logprob,
        "close_call": outcome.close_call,
    }
