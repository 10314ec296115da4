"""What the rankers read, measured on a planted model as the workflow's rules measure it."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path

import pandas as pd

from hones_core.attribution.activations import measure_activations
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.attribution.rankers import RANKERS, Measurements, rank_neurons
from hones_core.engine.evaluate import Evaluator
from hones_core.head_ranking import rank_heads
from hones_core.heads import measure_head_effects
from hones_core.models.adapter import Adapter
from hones_core.planted.world import CONTENTS, ROW_LENGTH
from hones_core.schemas.heads import BASE
from hones_core.tasks.instances import Instance

ROUTING_HEADS = 2  # of every task: all that the neuron scores are conditioned on
LEAST_UTILITY = 0.95  # a model that does not solve its task has no circuit to recover
BATCH_SIZE = 64


@dataclass(frozen=True)
class Options:
    """How the rankers measure, as in the config's sections `heads` and `neurons`.

    head_samples: instances of head localization, the most expensive step; the neurons are scored
    on all.
    """

    head_samples: int = 2 * CONTENTS
    positions: str = "all"
    clip: str = "per_sample"
    idf_tokens: str = "all"
    aggregate: str = "mean"
    activation: str = "z"
    activation_threshold: float = 0.0


@dataclass(frozen=True)
class Measured:
    """One task's measurements by their names in `Measurements`, and the mean base utility."""

    frames: Mapping[str, pd.DataFrame]
    base_utility: float


def measure_task(
    adapter: Adapter,
    task: str,
    folder: Path,
    instances: Sequence[Instance],
    options: Options,
) -> Measured:
    """All that the rankers read; `folder` holds the images.

    Raises ValueError if the unchanged model does not solve the task.
    """
    evaluator = Evaluator(adapter, task, folder, BATCH_SIZE, ROW_LENGTH + 1)
    head_effects = measure_head_effects(
        evaluator, instances[: options.head_samples], options.positions
    )
    utility = float(head_effects.loc[head_effects["layer"] == BASE, "utility"].mean())
    if utility < LEAST_UTILITY:
        raise ValueError(
            f"the planted model scores {utility:.2f} in {task}: its circuit does not work, so "
            "there is nothing to recover; use weaker distractors"
        )
    heads = rank_heads(head_effects, "task_metric", ROUTING_HEADS)
    selected = heads[heads["selected"]]
    effects = measure_neuron_effects(
        evaluator,
        instances,
        documents=instances,
        heads=list(zip(selected["layer"].tolist(), selected["head"].tolist(), strict=True)),
        clip=options.clip,
        positions=options.positions,
        idf_tokens=options.idf_tokens,
    )
    activations = measure_activations(
        evaluator,
        instances,
        options.aggregate,
        options.activation,
        options.activation_threshold,
    )
    frames = {"head_ranking": heads, "neuron_effects": effects, "activations": activations}
    return Measured(frames, utility)


def rank_task(
    task: str, measured: Mapping[str, Measured], seeds: Sequence[int], options: Options
) -> pd.DataFrame:
    """The NEURON_RANKING artifact of every registered ranker for one of the measured tasks.

    Raises ValueError if `Measurements` has a field that nothing here measures.
    """
    frames = measured[task].frames
    required = {field.name for field in fields(Measurements) if field.default is MISSING}
    unknown = sorted(required - set(frames))
    if unknown:
        raise ValueError(f"nothing here measures what some rankers need: {', '.join(unknown)}")
    return rank_neurons(Measurements(**frames), list(RANKERS), list(seeds))
