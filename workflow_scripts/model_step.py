"""What the scripts that run a model share: opening it, and reading their task's instances."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from transformers.utils import logging

from hones_core import artifacts
from hones_core.benchmark.images import require_images
from hones_core.benchmark.instance_objects import to_instances
from hones_core.benchmark.seeding import seeded_order
from hones_core.engine.at_once import Limits
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.free_memory import plan_evaluator
from hones_core.engine.ready import require_ready
from hones_core.engine.selfcheck import check_model
from hones_core.models import load_model
from hones_core.models.adapter import Adapter
from hones_core.models.loading import computing_names
from hones_core.partial import Parts, input_state
from hones_core.schemas.benchmark import INSTANCES
from hones_core.shards import shard_of, shard_provenance
from hones_core.tasks.instances import Instance
from workflow_scripts.step import provenance
from workflow_scripts.task_jobs import TaskJob


def open_evaluator(
    snakemake: Any, task: str | None = None, instances: Sequence[Instance] | None = None
) -> Evaluator:
    """The rule's model on `task`, or the rule's own, with as many threads as the rule was given.

    Device and files are looked at before the model is loaded, the model is checked before it is
    used. Chunk sizes that the configuration leaves open are planned from the memory that is free
    and the lengths of the instances (None: all of the rule's). Raises ModelError for a device or
    files that cannot be used, and for a model that does not behave as the engine relies on.
    """
    evaluator = unplanned_evaluator(snakemake, task or snakemake.wildcards.task)
    if instances is None:
        instances = to_instances(artifacts.read(snakemake.input.instances, INSTANCES))
    plan_sizes(snakemake, evaluator, instances)
    return evaluator


def unplanned_evaluator(snakemake: Any, task: str) -> Evaluator:
    """As `open_evaluator`, with chunk sizes that are still to be chosen."""
    cfg = snakemake.params.cfg
    engine = cfg.get("engine", {})
    return Evaluator(
        open_model(snakemake, engine.get("path", "fast")),
        task,
        cfg["image_folder"],
        cfg["model"]["batch_size"] or 1,
        **cfg.get("decoding", {}),
        engine=engine.get("path", "fast"),
        limits=Limits(candidate_rows=engine.get("candidate_rows", Limits.candidate_rows)),
        close_margin=engine.get("close_margin"),
    )


def open_model(snakemake: Any, engine_path: str) -> Adapter:
    """The rule's model, checked for a path of the engine; see `open_evaluator`."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(snakemake.threads)
    model = dict(snakemake.params.cfg["model"])
    del model["batch_size"]
    return _checked_model(tuple(model.items()), engine_path)


def plan_sizes(snakemake: Any, evaluator: Any, instances: Sequence[Instance]) -> None:
    """Choose the sizes of an evaluator, or of a joint one, that the configuration leaves open."""
    cfg = snakemake.params.cfg
    engine = cfg.get("engine", {})
    plan_evaluator(
        evaluator,
        instances,
        answered="decoding" in cfg,
        batch_size=cfg["model"]["batch_size"],
        copies=engine.get("interventions_at_once") if engine else 1,
        decode_rows=engine.get("decode_rows"),
    )


@lru_cache(maxsize=1)  # a job's tasks share the model
def _checked_model(model: tuple[tuple[str, Any], ...], engine_path: str) -> Adapter:
    values = dict(model)
    _require_ready(values)
    adapter = load_model(**values)
    check_model(adapter, engine_path)
    return adapter


def _require_ready(model: dict[str, Any]) -> None:
    """Raise ModelError for a device or files that cannot be used."""
    names = ("path", "family", "dtype", "device", "revision")
    require_ready(**{name: model[name] for name in names})


def read_instances(
    snakemake: Any, splits: tuple[str, ...], samples: int | None = None
) -> list[Instance]:
    """The task's instances of the splits, all or `samples` of them, with their images checked.

    A smaller sample is always part of a larger one. Raises ValueError when fewer exist than are
    asked for.
    """
    task, folder = snakemake.wildcards.task, snakemake.params.cfg["image_folder"]
    return choose_instances(snakemake.input.instances, task, splits, samples, folder)


def choose_instances(
    path: str, task: str, splits: tuple[str, ...], samples: int | None, image_folder: str
) -> list[Instance]:
    """As `read_instances`, from an INSTANCES artifact."""
    instances = to_instances(artifacts.read(path, INSTANCES))
    found = [instance for split in splits for instance in instances if instance.split == split]
    if samples is not None:
        if samples > len(found):
            raise ValueError(
                f"{samples} {task} instances are asked for, but {splits} hold "
                f"only {len(found)}; lower the number in the config"
            )
        chosen = set(seeded_order([i.instance_id for i in found], 0, "samples")[:samples])
        found = [instance for instance in found if instance.instance_id in chosen]
    require_images(image_folder, [instance.image for instance in found])
    return found


def shard(snakemake: Any) -> tuple[int, int]:
    """Which of how many jobs that share the task: (index from 0, number)."""
    return int(snakemake.wildcards.get("shard", 0)), snakemake.params.shards


def own_share(
    snakemake: Any, evaluator: Evaluator, instances: list[Instance]
) -> tuple[list[Instance], dict[str, Any]]:
    """Those of the instances that this job measures, all if it has no shard; its provenance."""
    chunks = evaluator.chunks(instances)
    made = {**share_provenance(snakemake, chunks), **_generation(snakemake, evaluator)}
    return shard_of(chunks, shard(snakemake)), made


def share_provenance(
    snakemake: Any, chunks: Sequence[Sequence[Instance]], heads: Sequence[tuple[int, int]] = ()
) -> dict[str, Any]:
    """The provenance of the job's share of the chunks' instances, or of the heads."""
    ids = [[instance.instance_id for instance in chunk] for chunk in chunks]
    return shard_provenance(provenance(snakemake), ids, shard(snakemake), heads)


def made_by(snakemake: Any, evaluator: Evaluator) -> dict[str, Any]:
    """The provenance of what a step writes that has the model answer.

    Beside the configuration it names the generation config in effect, which the checkpoint has a
    part in: the tokens that end an answer.
    """
    return {**provenance(snakemake), **_generation(snakemake, evaluator)}


def _generation(snakemake: Any, evaluator: Evaluator) -> dict[str, Any]:
    """Nothing for a step that generates no text."""
    answers = "decoding" in snakemake.params.cfg and evaluator.generation is not None
    return {"generation": evaluator.generation} if answers else {}


@contextmanager
def kept_parts(snakemake: Any) -> Iterator[Parts]:
    """Where a long job keeps what it has finished: beside its output, until all of it is written.

    The parts depend on all that the artifact's provenance names, on the content of the rule's
    inputs, and on where the numbers are rounded: ModelError if that device cannot be used.
    """
    _require_ready(snakemake.params.cfg["model"])
    name = computing_names(snakemake.params.cfg["model"]["device"])
    key = {
        **provenance(snakemake),
        "inputs": {str(path): input_state(path) for path in snakemake.input},
        "computed_on": [name, snakemake.threads],
    }
    parts = Parts(Path(snakemake.output[0]).with_suffix(".partial"), key)
    yield parts
    if isinstance(snakemake, TaskJob):
        snakemake.at_end.append(parts.remove)
    else:
        parts.remove()
