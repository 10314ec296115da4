"""What the rankers read, measured on a planted model as the workflow's rules measure it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hones_core.attribution import measurements
from hones_core.attribution.activations import measure_activations
from hones_core.attribution.measurements import Measurements
from hones_core.attribution.neuron_effects import gaussian_noise, measure_neuron_effects
from hones_core.attribution.rand_head import random_heads
from hones_core.attribution.rankers import RANKERS, rank_neurons
from hones_core.attribution.token_level.corruption import Corruption
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.attribution.token_level.llm_knowledge import measure_llm_knowledge
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.engine.evaluate import Evaluator
from hones_core.head_ranking import rank_heads, selected_heads
from hones_core.heads import measure_head_effects
from hones_core.models.adapter import Adapter
from hones_core.planted.world import CONTENTS, ROW_LENGTH
from hones_core.ranker_catalogue import applicable, artifacts_for
from hones_core.schemas.heads import BASE
from hones_core.tasks.instances import Instance

ROUTING_HEADS = 2  # of every task: all that the neuron scores are conditioned on
LEAST_UTILITY = 0.95  # a model that does not solve its task has no circuit to recover
BATCH_SIZE = 64


@dataclass(frozen=True)
class Options:
    """How the rankers measure, as in the config's sections `heads` and `neurons`.

    head_samples: instances of head localization, the most expensive step; the neurons are scored
    on all. ranker_seeds: {random ranker: its seeds}.
    """

    head_samples: int = 2 * CONTENTS
    seed: int = 0
    ranker_seeds: Mapping[str, Sequence[int]] = field(
        default_factory=lambda: {"random": (0, 1), "rand_head": (0, 1)}
    )
    positions: str = "all"
    clip: str = "per_sample"
    idf_tokens: str = "all"
    aggregate: str = "mean"
    activation: str = "z"
    activation_threshold: float = 0.0
    ma_absolute: bool = False
    groups_per_layer: int = 10
    corruption: str = "image_swap"
    noise_multiple: float = 3.0
    qrnca_steps: int = 20
    qrnca_threshold: float = 0.2
    qrnca_max_query_share: float = 0.3
    llm_knowledge_variance: str = "layer"


@dataclass(frozen=True)
class Sample:
    """A task's model and instances, and the order of its heads."""

    evaluator: Evaluator
    instances: Sequence[Instance]
    heads: pd.DataFrame
    options: Options

    def effects(self, heads: Sequence[tuple[int, int]], **choice: Any) -> pd.DataFrame:
        """The NEURON_EFFECTS of some heads."""
        return measure_neuron_effects(
            self.evaluator,
            self.instances,
            documents=self.instances,
            heads=heads,
            clip=self.options.clip,
            idf_tokens=self.options.idf_tokens,
            **choice,
        )


def _random_head_effects(sample: Sample) -> pd.DataFrame:
    seeds = sample.options.ranker_seeds["rand_head"]
    drawn = {head for seed in seeds for head in random_heads(sample.heads, seed)}
    return sample.effects(sorted(drawn), positions=sample.options.positions)


def _gaussian_effects(sample: Sample) -> pd.DataFrame:
    noise = gaussian_noise(sample.options.positions, sample.options.seed)
    return sample.effects(selected_heads(sample.heads), disruption=noise)


def _activations(sample: Sample) -> pd.DataFrame:
    chosen = sample.options
    return measure_activations(
        sample.evaluator,
        sample.instances,
        chosen.aggregate,
        chosen.activation,
        chosen.activation_threshold,
    )


def _group_patching(sample: Sample) -> pd.DataFrame:
    chosen = sample.options
    corruption = Corruption(chosen.corruption, chosen.noise_multiple, chosen.seed)
    return measure_group_patching(
        sample.evaluator, sample.instances, chosen.groups_per_layer, corruption
    )


# Every artifact that a ranker may read, by its name in the catalogue.
SOURCES: dict[str, Callable[[Sample], pd.DataFrame]] = {
    "head_ranking": lambda sample: sample.heads,
    "neuron_effects": lambda sample: sample.effects(
        selected_heads(sample.heads), positions=sample.options.positions
    ),
    "random_head_effects": _random_head_effects,
    "gaussian_effects": _gaussian_effects,
    "activation_statistics": _activations,
    "dla_scores": lambda sample: measure_dla(sample.evaluator, sample.instances),
    "group_patching_effects": _group_patching,
    "qrnca_scores": lambda sample: measure_qrnca(
        sample.evaluator,
        sample.instances,
        sample.options.qrnca_steps,
        sample.options.qrnca_threshold,
    ),
    "llm_knowledge_scores": lambda sample: measure_llm_knowledge(
        sample.evaluator, sample.instances, sample.options.llm_knowledge_variance
    ),
}


@dataclass(frozen=True)
class Measured:
    """One task's measurements by the names of their artifacts, and the mean base utility."""

    frames: Mapping[str, pd.DataFrame]
    base_utility: float


def measure_task(
    adapter: Adapter,
    task: str,
    folder: Path,
    instances: Sequence[Instance],
    options: Options,
) -> Measured:
    """All that the rankers that apply to the task read; `folder` holds the images.

    Raises ValueError if the unchanged model does not solve the task, or if a ranker reads what
    nothing here measures.
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
    needed = artifacts_for(applicable(RANKERS, task, [task, "and another"]))
    unknown = sorted(set(needed) - set(SOURCES))
    if unknown:
        raise ValueError(f"nothing here measures what some rankers read: {', '.join(unknown)}")
    heads = rank_heads(head_effects, "task_metric", ROUTING_HEADS)
    sample = Sample(evaluator, instances, heads, options)
    return Measured({name: SOURCES[name](sample) for name in needed}, utility)


def rank_task(task: str, measured: Mapping[str, Measured], options: Options) -> pd.DataFrame:
    """The NEURON_RANKING artifact of every ranker that applies to one of the measured tasks."""
    frames = dict(measured[task].frames)
    return rank_neurons(
        Measurements(
            activations=frames.pop("activation_statistics"),
            task=task,
            task_activations={
                name: of_task.frames["activation_statistics"] for name, of_task in measured.items()
            },
            options=measurements.Options(options.ma_absolute, options.qrnca_max_query_share),
            **frames,
        ),
        applicable(RANKERS, task, list(measured)),
        options.ranker_seeds,
    )
