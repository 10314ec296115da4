"""What the rankers read, measured on a planted model as the workflow's rules measure it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hones_core.attribution.activations import measure_activations
from hones_core.attribution.neuron_effects import (
    Disruption,
    gaussian_noise,
    mean_replacement,
    measure_neuron_effects,
)
from hones_core.attribution.rand_head import random_heads
from hones_core.attribution.rankers import RANKERS, Measurements, rank_neurons
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.attribution.token_level.llm_knowledge import measure_llm_knowledge
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.engine.evaluate import Evaluator
from hones_core.head_ranking import rank_heads
from hones_core.heads import measure_head_effects
from hones_core.models.adapter import Adapter
from hones_core.planted.world import CONTENTS, ROW_LENGTH
from hones_core.ranker_catalogue import TOKEN_LEVEL, applicable
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
    groups_per_layer: int = 10


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
    seeds: Sequence[int],
    options: Options,
) -> Measured:
    """All that the rankers read; `folder` holds the images, `seeds` are the random rankers'.

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
    frames |= _controls(evaluator, instances, heads, seeds, options)
    if task in TOKEN_LEVEL:
        frames |= {
            "dla_scores": measure_dla(evaluator, instances),
            "group_patching_effects": measure_group_patching(
                evaluator, instances, options.groups_per_layer
            ),
            "qrnca_scores": measure_qrnca(evaluator, instances),
            "llm_knowledge_scores": measure_llm_knowledge(evaluator, instances),
        }
    return Measured(frames, utility)


def _controls(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    heads: pd.DataFrame,
    seeds: Sequence[int],
    options: Options,
) -> dict[str, pd.DataFrame]:
    """Effects of random heads, of all seeds, and of noise at the selected ones."""

    def effects(places: Iterable[tuple[int, int]], disruption: Disruption) -> pd.DataFrame:
        return measure_neuron_effects(
            evaluator,
            instances,
            documents=instances,
            heads=sorted(places),
            clip=options.clip,
            idf_tokens=options.idf_tokens,
            disruption=disruption,
        )

    selected = heads[heads["selected"]]
    chosen = zip(selected["layer"].tolist(), selected["head"].tolist(), strict=True)
    drawn = {head for seed in seeds for head in random_heads(heads, seed)}
    return {
        "random_head_effects": effects(drawn, mean_replacement(options.positions)),
        "gaussian_effects": effects(chosen, gaussian_noise(options.positions)),
    }


def rank_task(task: str, measured: Mapping[str, Measured], seeds: Sequence[int]) -> pd.DataFrame:
    """The NEURON_RANKING artifact of every ranker that applies to one of the measured tasks."""
    measurements = Measurements(
        **measured[task].frames,
        task=task,
        task_activations={name: one.frames["activations"] for name, one in measured.items()},
    )
    rankers = applicable(RANKERS, task, list(measured))
    return rank_neurons(measurements, rankers, list(seeds))
