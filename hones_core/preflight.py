"""Can this machine run what is configured? Asked before any hour is spent; nothing is changed.

Every check gives findings and raises nothing: a table of all that is wrong is more use than the
first error. `look` and `disk_free` can be replaced, so that tests need neither GPUs nor full disks.
"""

import gc
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from hones_core.benchmark.data_check import NOTE, PROBLEM, check_coco, check_ood
from hones_core.engine import projection
from hones_core.engine.device import DeviceFacts, check_device, look
from hones_core.engine.plan import speeds
from hones_core.engine.selfcheck import check_model
from hones_core.engine.shapes import shape_from_config
from hones_core.findings import FAILED, OK, SKIPPED, WARNING, Finding
from hones_core.models.adapter import Adapter, ModelError
from hones_core.models.checkpoint import (
    CONFIG,
    Checkpoint,
    DamagedFileError,
    check_checkpoint,
    find_checkpoint,
    read_json,
)
from hones_core.models.loading import FAMILIES, LOAD_ERRORS, load_model, load_tokenizer
from hones_core.schemas.preflight import PREFLIGHT
from hones_core.settings import Model, Settings, SettingsError, plain
from hones_core.tasks import retrieval
from hones_core.tasks.instances import Instance
from hones_core.tasks.ood_sets import OOD_DATASETS, sets_in_run

# Bytes of a row in compressed parquet, as measured on the toy's artifacts, rounded up.
HEAD_ROW, NEURON_ROW, RANKING_ROW = 20, 20, 12
EMBEDDING = 1700  # bytes of one caption's embedding
CAPTIONS = 5
PNG_PIXEL = 2  # bytes of a photograph's pixel
PHOTOGRAPH, TOY_SCENE = 640 * 480, 64 * 64  # pixels
NOT_LOADED_AFTER = {("weights", WARNING), ("tokenizer", SKIPPED), ("memory", SKIPPED)}
PROBE_SIZE = (640, 480)  # pixels of the image that goes through the model


def preflight(
    settings: Settings,
    look: Callable[[str], DeviceFacts] = look,
    disk_free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
) -> list[Finding]:
    """All findings: model by model, then the disk, then the data."""
    found: list[Finding] = []
    for model in settings.models:
        found += check_one_model(settings, model, look(model.device))
    return [*found, check_disk(settings, disk_free), *check_data(settings)]


def table(findings: Iterable[Finding]) -> pd.DataFrame:
    """The findings as a frame of the schema PREFLIGHT."""
    frame = pd.DataFrame(list(findings), columns=Finding._fields)
    frame["row"] = range(len(frame))
    return frame[PREFLIGHT.names]


def check_one_model(settings: Settings, model: Model, facts: DeviceFacts) -> list[Finding]:
    """Device, files, tokenizer, memory and, where these allow it, the model itself."""
    checkpoint = find_checkpoint(model.path, model.revision)
    found = check_device(model.name, model.device, model.dtype, facts)
    found += check_checkpoint(model.name, model.family, checkpoint)
    found.append(check_tokenizer(settings, model, checkpoint))
    found.append(check_heads(settings, model, checkpoint))
    found.append(check_memory(settings, model, checkpoint, facts))
    return [*found, check_behaviour(settings, model, found)]


def check_tokenizer(settings: Settings, model: Model, checkpoint: Checkpoint) -> Finding:
    """Whether prompts can be made, with one image each, and Yes and No be told apart behind one.

    Words that cannot be told apart are a warning only where retrieval is no task of the run.
    """
    name = "tokenizer"
    if checkpoint.folder is None:
        return Finding(name, model.name, SKIPPED, "the checkpoint is not here")
    try:
        config = read_json(checkpoint.folder / CONFIG)
        adapter = object.__new__(FAMILIES[model.family]()[2])  # prompts need no weights
        adapter.tokenizer = load_tokenizer(str(checkpoint.folder))
        prompt = adapter.prompt(_instruction(model.family))
        words = (retrieval.POSITIVE_WORD, retrieval.NEGATIVE_WORD)
        yes, no = (adapter.answer_ids(prompt, word)[0] for word in words)
    except (ModelError, DamagedFileError, *LOAD_ERRORS) as error:
        remedy = (
            "Put the tokenizer's files of this very checkpoint beside its weights, "
            "chat_template.jinja or chat_template.json among them"
        )
        return Finding(name, model.name, FAILED, str(error), remedy)
    if _image_tokens(adapter, config, prompt) != 1:
        detail = "the prompt does not hold the image's placeholder once"
        remedy = "Take the tokenizer and chat template of this very checkpoint"
        return Finding(name, model.name, FAILED, detail, remedy)
    if yes == no:
        detail = f"{' and '.join(words)} begin with the same token ({yes}) behind a prompt"
        remedy = "Take another tokenizer, or leave retrieval out of `tasks`"
        status = FAILED if "retrieval" in settings.tasks else WARNING
        return Finding(name, model.name, status, detail, remedy)
    return Finding(name, model.name, OK, f"Yes is token {yes}, No is {no}")


def check_heads(settings: Settings, model: Model, checkpoint: Checkpoint) -> Finding:
    """Whether the model has as many heads as are to be selected; a job would see it after hours."""
    name = "heads"
    try:
        own = _at(settings, model, checkpoint)
        shape = shape_from_config(projection.checkpoint_config(own.models[0].path), model.dtype)
    except (SettingsError, LookupError, TypeError, ValueError) as error:
        return Finding(name, model.name, SKIPPED, f"the model's sizes are not known: {error!r}")
    heads = shape.layers * shape.heads
    detail = f"top_heads is {model.top_heads}, the model has {heads} heads"
    if model.top_heads > heads:
        return Finding(name, model.name, FAILED, detail, "Lower the model's top_heads")
    return Finding(name, model.name, OK, detail)


def check_memory(
    settings: Settings, model: Model, checkpoint: Checkpoint, facts: DeviceFacts
) -> Finding:
    """The plan's largest need against the memory that is free on the model's device.

    Failed if the weights, or a stage that does one thing at a time, need more than is free; a
    warning if a stage has to do less at once than configured, which it does by itself.
    """
    name = "memory"
    if facts.driver or not facts.name:
        return Finding(name, model.name, SKIPPED, "its device cannot be used")
    try:
        own = _at(settings, model, checkpoint)
        device = "cpu" if facts.capability is None else "cuda"
        free = facts.free_bytes / 1e9
        config = projection.checkpoint_config(own.models[0].path)
        weights = shape_from_config(config, model.dtype).weight_bytes / 1e9
        rows, least = (
            projection.rows(one, free, speeds("v100", None), 1, device)
            for one in (own, _one_at_a_time(own))
        )
    except (SettingsError, LookupError, TypeError, ValueError) as error:
        return Finding(name, model.name, SKIPPED, f"the model's sizes are not known: {error!r}")
    remedy = "Free the device, take one with more memory, or set dtype to float16"
    if weights > free:
        detail = f"the weights need {weights:.1f} GB, {free:.1f} GB are free"
        return Finding(name, model.name, FAILED, detail, remedy)
    lost = [row for row in least if row.peak_gb > free]
    if lost:
        detail = f"even one at a time, {_needs(lost, free)}"
        return Finding(name, model.name, FAILED, detail, f"{remedy}, or lower max_pixels")
    tight = [row for row in rows if not row.fits]
    if tight:
        remedy = (
            "It will do less at once by itself, somewhat slower. Leave batch_size, "
            "interventions_at_once and decode_rows null, which plans them; for steering lower "
            "steering.batch_size"
        )
        return Finding(name, model.name, WARNING, _needs(tight, free), remedy)
    return Finding(name, model.name, OK, _needs(rows, free))


def expected_bytes(settings: Settings) -> tuple[int, list[str]]:
    """About how many bytes a whole run writes; and the models whose sizes are not known.

    Of each model and task, with L layers of H heads and m neurons:

        head effects    2 x (1 + L H) x samples x 20   (the parts of a running job beside them)
        neuron effects  (1 + measured heads) x L m x 20
        rankings        orders x L m x 12

    and once 5 x 1,700 bytes of embeddings and, for ocr, 2 bytes a pixel of each image. Predictions,
    tables and figures are far smaller.
    """
    images = sum(settings.benchmark.splits.model_dump().values())
    pixels = TOY_SCENE if settings.data.toy_scenes else PHOTOGRAPH
    total = images * CAPTIONS * EMBEDDING
    total += images * pixels * PNG_PIXEL if "ocr" in settings.tasks else 0
    unknown = []
    for model in settings.models:
        try:
            total += _model_bytes(settings, model)
        except (SettingsError, DamagedFileError, LookupError, TypeError, ValueError):
            unknown.append(model.name)
    return total, unknown


def check_disk(settings: Settings, disk_free: Callable[[Path], int]) -> Finding:
    """Free disk under results/ against `expected_bytes`."""
    folder = Path(f"results/{settings.run_name}").absolute()
    while not folder.exists():
        folder = folder.parent
    total, unknown = expected_bytes(settings)
    free = disk_free(folder)
    detail = f"about {total / 1e9:.3g} GB will be written, {free / 1e9:.3g} GB are free"
    if unknown:
        detail += f"; without {', '.join(unknown)}, whose sizes are not known"
    remedy = f"Make room under results/{settings.run_name}, or link it to a larger disk"
    if total > free:
        return Finding("disk", "", FAILED, detail, remedy)
    if 2 * total > free or unknown:
        return Finding("disk", "", WARNING, detail, remedy)
    return Finding("disk", "", OK, detail)


def check_behaviour(settings: Settings, model: Model, before: Iterable[Finding]) -> Finding:
    """One image through the model, and the check that every job makes when it opens it.

    Skipped where the findings `before` say that the model cannot be loaded here.
    """
    name = "self-check"
    stopped = [
        finding.check
        for finding in before
        if finding.status == FAILED or (finding.check, finding.status) in NOT_LOADED_AFTER
    ]
    if stopped:
        return Finding(name, model.name, SKIPPED, f"not loaded because of: {', '.join(stopped)}")
    try:
        detail = _through(settings, model)
    except (ModelError, FloatingPointError, RuntimeError) as error:
        remedy = "See docs/architecture.md, 'A model is checked before it is scored'"
        return Finding(name, model.name, FAILED, str(error), remedy)
    finally:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return Finding(name, model.name, OK, detail)


def check_data(settings: Settings) -> list[Finding]:
    """What the rule check_data finds: a row for each problem, or one that all is there."""
    cfg = plain(settings)
    ood = {name: cfg["ood"][name] for name in OOD_DATASETS}
    masked_on = sets_in_run(settings.groups.ood_sets, settings.tasks)
    rows = [*check_coco(cfg["data"]), *check_ood(ood, masked_on)]
    remedy = "See docs/data.md; `snakemake --cores 1 check_data` prints the whole table"
    problems = [
        Finding("data", "", FAILED, f"{row.data}: {row.check}: {row.found}", remedy)
        for row in rows
        if row.status == PROBLEM
    ]
    notes = sum(row.status == NOTE for row in rows)
    detail = f"{len(rows)} checks, {notes} of them with a note"
    return problems or [Finding("data", "", OK, detail)]


def _instruction(family: str) -> str:
    """The retrieval task's question about some caption."""
    captions = ("a dog", "a cat")
    instance = Instance("preflight", "retrieval", "test", 0, "none", "", (), captions, 0)
    return retrieval.instruction(family, instance, captions[0])


def _image_tokens(adapter: Adapter, config: dict, prompt: str) -> int:
    """How often the image's placeholder is among the prompt's tokens."""
    token = config.get("image_token_id", config.get("image_token_index"))
    return adapter.tokenizer(prompt)["input_ids"].count(token)


def _at(settings: Settings, model: Model, checkpoint: Checkpoint) -> Settings:
    """The settings with this model alone, at the folder where its files are, if there is one."""
    here = str(checkpoint.folder or model.path)
    return settings.model_copy(update={"models": (model.model_copy(update={"path": here}),)})


def _one_at_a_time(settings: Settings) -> Settings:
    """The settings to which every stage comes down where memory runs out."""
    one, at_once = {"batch_size": 1}, {"interventions_at_once": 1, "decode_rows": 1}
    return settings.model_copy(
        update={
            "models": tuple(model.model_copy(update=one) for model in settings.models),
            "engine": settings.engine.model_copy(update=at_once),
            "steering": settings.steering.model_copy(update=one),
        }
    )


def _needs(rows: list[projection.Row], free: float) -> str:
    most = max(rows, key=lambda row: row.peak_gb)
    return (
        f"{most.stage} of {most.task} needs up to {most.peak_gb:.3g} GB with the weights, "
        f"{free:.3g} GB are free"
    )


def _model_bytes(settings: Settings, model: Model) -> int:
    """One model's part of `expected_bytes`."""
    own = _at(settings, model, find_checkpoint(model.path, model.revision))
    config = projection.checkpoint_config(own.models[0].path)
    shape = shape_from_config(config, model.dtype)
    neurons, rankers = shape.layers * shape.ffn, settings.rankers_of(model.name)
    drawn = settings.neurons.random_head_seeds * ("rand_head" in rankers)
    measured = 1 + drawn + ("gaussian" in rankers)
    effects = (1 + measured * model.top_heads) * neurons * NEURON_ROW
    orders = sum(projection.orders(settings, model, task) for task in settings.tasks)
    total = len(settings.tasks) * effects + orders * neurons * RANKING_ROW
    for job in projection.jobs(settings, model, shape):
        if job.stage == "head effects":
            total += 2 * (1 + job.interventions.count) * job.samples * HEAD_ROW
    return total


def _through(settings: Settings, model: Model) -> str:
    """Load the model, put one image through it, check it; in words what went through."""
    adapter = load_model(
        model.path,
        model.family,
        model.dtype,
        model.device,
        model.revision,
        model.min_pixels,
        model.max_pixels,
    )
    width, height = PROBE_SIZE
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    with torch.inference_mode():
        batch = adapter.encode([Image.fromarray(pixels)], [adapter.prompt("What is this?")])
        adapter.logits(adapter.hidden_states(batch)[:, -1])
    check_model(adapter, settings.engine.path)
    devices = ", ".join(str(device) for device in adapter.devices)
    return f"one image and {batch.input_ids.shape[1]} prompt tokens on {devices}"
