"""What a neuron's card shows, read from a run's artifacts and from the model that made them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image

from hones_core import artifacts
from hones_core.benchmark.images import open_image
from hones_core.benchmark.instance_objects import to_instances
from hones_core.benchmark.seeding import seeded_order
from hones_core.engine.activations import last_token_activations
from hones_core.engine.evaluate import Evaluator
from hones_core.models import load_model
from hones_core.models.adapter import Adapter
from hones_core.schemas.benchmark import INSTANCES
from hones_core.schemas.heads import BASE
from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.neurons import NEURON_EFFECTS, NEURON_RANKING
from hones_core.task_catalogue import TASK_NAMES
from hones_core.tasks import get_task
from hones_core.tasks.instances import Instance
from hones_core.vocabulary import Vocabulary, read_vocabulary

TOP_TOKENS = 12  # of each sign
TOP_SAMPLES = 6  # of each task
MOST_SAMPLES = 256  # looked at of each task
BATCH = 8  # prompts per pass where the run planned them itself


class CardError(Exception):
    """A card that cannot be made, and why."""


@dataclass(frozen=True)
class Sample:
    """A discovery sample: how active the neuron is at its last prompt token, z."""

    instance_id: str
    activation: float
    prompt: str
    target: str
    image: Image.Image


@dataclass(frozen=True)
class Card:
    """All that a neuron's page shows.

    shape: layers and neurons per layer. ranks: columns task, ranker, seed, rank (from 0), score.
    layer_share: of each task, the percent of the layer's other neurons that HONES ranks below it.
    contribution: of each task, E[c] of the unchanged model, in logits. group: its overlap group,
    "" if it is in no task's top set, which holds `top_ratio` of all neurons. tokens: what adding it
    with z = 1 adds to the logits, (text, logit), the largest and the most negative. samples: of
    each task those with the largest |z|, of the n_samples looked at.
    """

    folder: str
    layer: int
    neuron: int
    shape: tuple[int, int]
    ranks: pd.DataFrame
    layer_share: dict[str, float]
    contribution: dict[str, float]
    group: str
    top_ratio: float
    raised: list[tuple[str, float]]
    lowered: list[tuple[str, float]]
    samples: dict[str, list[Sample]]
    n_samples: dict[str, int]
    model: dict[str, Any]


def read_card(
    folder: str | Path,
    layer: int,
    neuron: int,
    samples: int = MOST_SAMPLES,
    adapter: Adapter | None = None,
) -> Card:
    """The card of a neuron of the model whose results lie in `folder`, such as results/toy/llava.

    At most `samples` discovery instances of each task are looked at. Raises as `read_cards` does.
    """
    (card,) = read_cards(folder, [(layer, neuron)], samples, adapter)
    return card


def read_cards(
    folder: str | Path,
    neurons: Sequence[tuple[int, int]],
    samples: int = MOST_SAMPLES,
    adapter: Adapter | None = None,
) -> Iterator[Card]:
    """The cards of several (layer, neuron), one after another, from one reading and one run.

    `adapter`: the model, if it is loaded already. Raises CardError for a folder that holds no
    results or a neuron that does not exist, ArtifactError for a missing artifact, ModelError for a
    model that cannot be loaded.
    """
    folder = Path(folder)
    tasks = _tasks_of(folder)
    rankings = {task: _read(folder, task, NEURON_RANKING) for task in tasks}
    shape = _shape(rankings[tasks[0]])
    for place in neurons:
        _require_neuron(*place, shape)
    groups_file = folder / f"{OVERLAP_GROUPS.name}.parquet"
    groups = artifacts.read(groups_file, OVERLAP_GROUPS)
    effects = {task: _base_rows(_read(folder, task, NEURON_EFFECTS)) for task in tasks}
    made_by = {task: _settings(folder / task / f"{NEURON_EFFECTS.name}.parquet") for task in tasks}
    model = made_by[tasks[0]]["model"]
    project = folder.resolve().parents[2]  # of results/run/model
    if adapter is None:
        adapter = _load(model, project)
    _require_the_model(adapter, shape, folder)
    words = read_vocabulary(adapter.tokenizer, len(adapter.unembedding), adapter.stop_ids)
    evaluators, instances, values = {}, {}, {}
    for task in tasks:
        images = _located(made_by[task]["image_folder"], project)
        evaluators[task] = Evaluator(adapter, task, images, model["batch_size"] or BATCH)
        instances[task] = _discovery(folder.parent, task, samples)
        values[task] = activations_of(evaluators[task], instances[task], neurons)
    for layer, neuron in neurons:
        ranks = [_own_rows(rankings[task], layer, neuron).assign(task=task) for task in tasks]
        raised, lowered = write_out_tokens(adapter, words, layer, neuron)
        found = {
            task: most_active(evaluators[task], instances[task], values[task][layer, neuron])
            for task in tasks
        }
        own = groups[(groups["layer"] == layer) & (groups["neuron"] == neuron)]["group"]
        yield Card(
            folder=str(folder),
            layer=layer,
            neuron=neuron,
            shape=shape,
            ranks=pd.concat(ranks),
            layer_share={task: _layer_share(rankings[task], layer, neuron) for task in tasks},
            contribution={task: _contribution(effects[task], layer, neuron) for task in tasks},
            group=own.iloc[0] if len(own) else "",
            top_ratio=_settings(groups_file)["top_ratio"],
            raised=raised,
            lowered=lowered,
            samples=found,
            n_samples={task: len(own) for task, own in instances.items()},
            model=model,
        )


def write_out_tokens(
    adapter: Adapter, words: Vocabulary, layer: int, neuron: int, count: int = TOP_TOKENS
) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
    """The tokens whose logit `U W_{:,i}` is largest, and those where it is most negative.

    Raw unembedding, no final norm (METHOD 5); (text, logit for z = 1), the strongest first.
    """
    column = adapter.layers[layer].mlp.down_proj.weight[:, neuron]
    with torch.inference_mode():
        logits = adapter.logits(column).cpu()
    order = [i for i in logits.argsort(descending=True, stable=True).tolist() if words.is_token[i]]

    def said(chosen: Sequence[int]) -> list[tuple[str, float]]:
        return [(words.texts[token], float(logits[token])) for token in chosen]

    return said(order[:count]), said(order[::-1][:count])


def activations_of(
    evaluator: Evaluator, instances: Sequence[Instance], neurons: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], list[float]]:
    """z of each (layer, neuron) at the last prompt token of every instance."""
    values: dict[tuple[int, int], list[float]] = {place: [] for place in neurons}
    with torch.inference_mode():
        for chunk in evaluator.prompt_chunks(instances):
            z = last_token_activations(evaluator.adapter, evaluator.encode(chunk)).cpu()
            for (layer, neuron), own in values.items():
                own += z[:, layer, neuron].tolist()
    return values


def most_active(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    values: Sequence[float],
    count: int = TOP_SAMPLES,
) -> list[Sample]:
    """The instances with the largest |z| of a neuron, of which `values` are each one's; ties by
    id."""
    order = sorted(
        zip(values, instances, strict=True), key=lambda pair: (-abs(pair[0]), pair[1].instance_id)
    )
    module, family = get_task(evaluator.task_name), evaluator.adapter.family
    found = []
    for value, instance in order[:count]:
        found.append(
            Sample(
                instance.instance_id,
                value,
                module.instruction(family, instance, instance.positive_candidate),
                module.targets(instance)[0],
                open_image(evaluator.image_folder, instance.image),
            )
        )
    return found


def _tasks_of(folder: Path) -> list[str]:
    """The tasks that the folder has neuron rankings of; CardError if there are none."""
    if not folder.is_dir():
        raise CardError(f"{folder} is no folder; give a model's results, such as results/toy/llava")
    name = f"{NEURON_RANKING.name}.parquet"
    tasks = [task for task in TASK_NAMES if (folder / task / name).exists()]
    if not tasks:
        raise CardError(
            f"{folder} holds no neuron ranking of any task (such as vqa/{name}); give the folder "
            "of a model in a run that ranked its neurons, such as results/toy/llava"
        )
    return tasks


def _read(folder: Path, task: str, schema: artifacts.Schema) -> pd.DataFrame:
    return artifacts.read(folder / task / f"{schema.name}.parquet", schema)


def _settings(path: Path) -> dict[str, Any]:
    """The configuration that an artifact was made with."""
    settings = artifacts.provenance(path).get("config")
    if not settings:
        raise CardError(f"{path} does not say what it was made with; make it with the workflow")
    return settings


def _shape(ranking: pd.DataFrame) -> tuple[int, int]:
    return int(ranking["layer"].max()) + 1, int(ranking["neuron"].max()) + 1


def _require_neuron(layer: int, neuron: int, shape: tuple[int, int]) -> None:
    for name, value, size in (("layer", layer, shape[0]), ("neuron", neuron, shape[1])):
        if not 0 <= value < size:
            raise CardError(
                f"there is no {name} {value}: the model has {shape[0]} layers (0 to "
                f"{shape[0] - 1}) of {shape[1]:,} neurons (0 to {shape[1] - 1})"
            )


def _require_the_model(adapter: Adapter, shape: tuple[int, int], folder: Path) -> None:
    found = adapter.n_layers, adapter.n_neurons
    if found != shape:
        raise CardError(
            f"the model has {found[0]} layers of {found[1]} neurons, but the results in {folder} "
            f"are of {shape[0]} layers of {shape[1]}: it is not the one that was measured"
        )


def _own_rows(ranking: pd.DataFrame, layer: int, neuron: int) -> pd.DataFrame:
    own = ranking[(ranking["layer"] == layer) & (ranking["neuron"] == neuron)]
    return own[["ranker", "seed", "rank", "score"]]


def _layer_share(ranking: pd.DataFrame, layer: int, neuron: int) -> float:
    """Percent of the layer's other neurons that are ranked below; NaN without HONES."""
    rows = ranking[(ranking["ranker"] == "hones") & (ranking["layer"] == layer)]
    own = rows.loc[rows["neuron"] == neuron, "rank"]
    if own.empty or len(rows) < 2:
        return float("nan")
    return 100 * float((rows["rank"] > own.iloc[0]).sum()) / (len(rows) - 1)


def _base_rows(effects: pd.DataFrame) -> pd.DataFrame:
    return effects[effects["head_layer"] == BASE]


def _contribution(base: pd.DataFrame, layer: int, neuron: int) -> float:
    own = base[(base["layer"] == layer) & (base["neuron"] == neuron)]
    return float(own["contribution"].iloc[0])


def _located(path: str, project: Path) -> str:
    """A path of the configuration, which counts from the project's folder; a hub id as it is."""
    return str(project / path) if (project / path).exists() else path


def _load(model: dict[str, Any], project: Path) -> Adapter:
    values = {name: value for name, value in model.items() if name != "batch_size"}
    return load_model(**values | {"path": _located(model["path"], project)})


def _discovery(run: Path, task: str, count: int) -> list[Instance]:
    """At most `count` discovery instances, a fixed random choice."""
    path = run / "benchmark" / INSTANCES.name / f"{task}.parquet"
    found = [i for i in to_instances(artifacts.read(path, INSTANCES)) if i.split == "discovery"]
    chosen = set(seeded_order([i.instance_id for i in found], 0, "samples")[:count])
    return [instance for instance in found if instance.instance_id in chosen]
