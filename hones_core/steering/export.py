"""Learned scales for people: one small safetensors file, put onto any Hugging Face model of theirs.

    from hones_core.steering.export import apply_scales
    handle = apply_scales(model, "scales.safetensors")  # handle.remove() undoes it

The file holds layers and neurons (int64), scales and column_norms (float32), each [k], and in its
metadata a JSON header that says which model they are for, how they were learned and what they gave.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import transformers
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hones_core.artifacts import provenance, read
from hones_core.atomic import written_atomically
from hones_core.engine.interventions import scale_neurons
from hones_core.models.loading import LOAD_ERRORS
from hones_core.schemas.steering import STEERING_SCALES, STEERING_SEARCH
from hones_core.schemas.tables import STEERING
from hones_core.steering.bank import SteeringError

FORMAT = "hones_scales"
VERSION = 1
TENSORS = ("layers", "neurons", "scales", "column_norms")
NORM_TOLERANCE = 0.02  # relative: weights in half precision are the same, another model's are not
# Where decoders lie in Hugging Face's classes, from the outermost module.
DECODERS = ("model.language_model", "language_model.model", "language_model", "model", "")
WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "*.bin",
    "*.bin.index.json",
    "*.pth",
    "*.gguf",
)


@dataclass(frozen=True)
class ScaleFile:
    """What a file holds: its header, and by layer the neurons [k], scales [k] and norms [k]."""

    header: Mapping[str, Any]
    by_layer: Mapping[int, tuple[Tensor, Tensor, Tensor]]


class Handle:
    """Scales in force on a model; `remove`, or the end of a `with` block, takes them off."""

    def __init__(self, hooks: Sequence[torch.utils.hooks.RemovableHandle]):
        self.hooks = hooks

    def remove(self) -> None:
        """Take the scales off the model again."""
        for hook in self.hooks:
            hook.remove()

    def __enter__(self) -> "Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


def export_scales(
    folder: str | Path, task: str, output: str | Path, method: str = "hones", seed: int = 0
) -> dict[str, Any]:
    """Write one method's scales of a run's model folder (results/RUN/MODEL); returns the header.

    Raises ArtifactError if they are not there, SteeringError if the method is not among them.
    """
    folder = Path(folder)
    path = folder / task / "steering_scales.parquet"
    scales, made = read(path, STEERING_SCALES), provenance(path)
    rows = scales[(scales["method"] == method) & (scales["seed"] == seed)]
    if rows.empty:
        known = scales[["method", "seed"]].drop_duplicates().itertuples(index=False)
        raise SteeringError(
            f"{path} holds no method {method!r} with seed {seed}; it has "
            + ", ".join(f"{name} {number}" for name, number in known)
        )
    rows = rows.sort_values(["layer", "neuron"])
    model = made["config"]["model"]
    header = {
        "format": FORMAT,
        "version": VERSION,
        "model": {name: model[name] for name in ("path", "revision", "family", "dtype")},
        "architecture": made["architecture"],
        "shape": made["shape"],
        "task": task,
        "method": method,
        "seed": seed,
        "bank": {"source": made["bank"], "n_neurons": len(rows)},
        "training": made["config"]["steering"],
        "scores": _scores(folder, task, method, seed),
        "versions": made["versions"],
    }
    tensors = {
        "layers": torch.tensor(rows["layer"].tolist()),
        "neurons": torch.tensor(rows["neuron"].tolist()),
        "scales": torch.tensor(rows["scale"].tolist(), dtype=torch.float32),
        "column_norms": torch.tensor(rows["column_norm"].tolist(), dtype=torch.float32),
    }
    with written_atomically(output) as temporary:
        save_file(tensors, temporary, {FORMAT: json.dumps(header, sort_keys=True)})
    return header


def read_scales(file: str | Path) -> ScaleFile:
    """Read a file of `export_scales`; SteeringError if it is not one."""
    try:
        with safe_open(file, "pt") as opened:
            header = json.loads((opened.metadata() or {}).get(FORMAT, "null"))
            if header is None or not set(TENSORS) <= set(opened.keys()):
                raise SteeringError(f"{file} is no file of steering scales")
            layers, *values = (opened.get_tensor(name) for name in TENSORS)
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise SteeringError(f"{file} cannot be read as steering scales: {error}") from error
    if header["version"] != VERSION:
        raise SteeringError(f"{file} has version {header['version']}, but {VERSION} is known here")
    if len(layers) == 0:
        raise SteeringError(f"{file} is empty: there is no neuron to steer")
    by_layer = {
        layer: tuple(value[layers == layer] for value in values)
        for layer in layers.unique().tolist()
    }
    return ScaleFile(header, by_layer)


def apply_scales(model: nn.Module, file: str | Path, check_weights: bool = True) -> Handle:
    """Multiply the file's neurons of a Hugging Face model by 1 + scale, from now on.

    The weights stay as they are. Raises SteeringError for a bank of another architecture or shape,
    and, with `check_weights`, of another model: the columns of `down_proj` have other norms. Turn
    that off for quantised weights.
    """
    scales = read_scales(file)
    layers = fitting_layers(model, scales, file, check_weights)
    return Handle(
        [
            layers[layer].mlp.down_proj.register_forward_pre_hook(_hook(neurons, values))
            for layer, (neurons, values, _) in scales.by_layer.items()
        ]
    )


@torch.no_grad()
def fold_scales(model: nn.Module, file: str | Path, check_weights: bool = True) -> None:
    """Multiply the file's columns of `down_proj` by 1 + scale, in place and for good.

    Equal to `apply_scales` up to rounding. Raises SteeringError as it does, so that scales are not
    folded in twice.
    """
    scales = read_scales(file)
    layers = fitting_layers(model, scales, file, check_weights)
    for layer, (neurons, values, _) in scales.by_layer.items():
        weight = layers[layer].mlp.down_proj.weight
        neurons = neurons.to(weight.device)
        factor = 1 + values.to(weight.device)
        weight[:, neurons] = (weight[:, neurons].float() * factor).to(weight.dtype)


def save_folded(
    file: str | Path, source: str, output: str | Path, revision: str | None = None
) -> None:
    """Fold the scales into the model at `source` (a folder or a hub id) and write a checkpoint.

    The new folder has plain weights and the other files of the source, so that it loads without any
    of this code; it is there whole or not at all. Raises SteeringError as `fold_scales` does, for a
    source that is no model, and if `output` is there already.
    """
    output = Path(output)
    if output.exists():
        raise SteeringError(f"{output} is there already; give the name of a new folder")
    folder, model = _source_model(source, revision)
    fold_scales(model, file)
    with _new_folder(output) as temporary:
        model.save_pretrained(temporary)
        weights = {path for pattern in WEIGHTS for path in folder.glob(pattern)}
        for path in sorted(folder.iterdir()):
            if path.is_file() and path not in weights and not (temporary / path.name).exists():
                shutil.copy(path, temporary / path.name)


def _source_model(source: str, revision: str | None) -> tuple[Path, Any]:
    """A checkpoint's folder and its model; SteeringError if there is none at `source`."""
    try:
        folder = Path(source)
        if not folder.is_dir():
            folder = Path(snapshot_download(source, revision=revision))
        config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        names = config.architectures or []
        known = [getattr(transformers, name) for name in names if hasattr(transformers, name)]
        if len(known) != 1:
            raise SteeringError(
                f"{folder / 'config.json'} names the architectures {names}, where one that "
                "transformers has is needed; put the model's class there, in a list"
            )
        model = known[0].from_pretrained(
            folder, dtype="auto", use_safetensors=True, trust_remote_code=False
        )
    except LOAD_ERRORS as error:
        raise SteeringError(
            f"cannot load a model from {source}: {error}. Give the folder of a whole checkpoint "
            "with safetensors weights, or a hub id"
        ) from error
    return folder, model


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to fill; it becomes `path` if nothing went wrong.

    Its name is always the same, so that what a killed process leaves is gone with the next try.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def fitting_layers(
    model: nn.Module, scales: ScaleFile, file: str | Path, check_weights: bool
) -> Any:
    """The model's decoder layers, if the scales are of it; a SteeringError says why not."""
    header = scales.header
    meant = f"{file} is for {header['model']['path']} ({header['architecture']})"
    if type(model).__name__ != header["architecture"]:
        raise SteeringError(f"{meant}, not for a {type(model).__name__}")
    layers, shape = _decoder_layers(model), header["shape"]
    found = {"layers": len(layers), "neurons": layers[0].mlp.down_proj.in_features}
    if found != shape:
        raise SteeringError(
            f"{meant} with {shape['layers']} layers of {shape['neurons']} neurons; this model has "
            f"{found['layers']} of {found['neurons']}"
        )
    for layer, (neurons, _, norms) in scales.by_layer.items():
        if not check_weights:
            break
        weight = layers[layer].mlp.down_proj.weight
        own = weight[:, neurons.to(weight.device)].detach().float().norm(dim=0).cpu()
        if not torch.allclose(own, norms, rtol=NORM_TOLERANCE, atol=1e-6):
            raise SteeringError(
                f"{meant}; this model has other weights in layer {layer}: it is another model of "
                "the same shape, or scales are folded into it already"
            )
    return layers


def _decoder_layers(model: nn.Module) -> Any:
    for place in DECODERS:
        try:
            layers: Any = model.get_submodule(place).layers
            layers[0].mlp.down_proj  # noqa: B018
        except AttributeError:
            continue
        return layers
    raise SteeringError(f"a {type(model).__name__} has no decoder layers with an mlp.down_proj")


def _hook(neurons: Tensor, scales: Tensor) -> Callable[[nn.Module, tuple], tuple]:
    """A pre-hook of `down_proj`: exactly what the workflow's runs do to its input."""

    def hook(_module: nn.Module, args: tuple) -> tuple:
        z = args[0]
        return (scale_neurons(z, neurons.to(z.device), scales.to(z.device)), *args[1:])

    return hook


def _scores(folder: Path, task: str, method: str, seed: int) -> dict[str, float]:
    """Scores on development and, where the run's table is there, on test."""
    search = read(folder / task / "steering_search.parquet", STEERING_SEARCH)
    rows = search[search["chosen"]].set_index(["method", "seed"])["development_score"]
    found = {
        "development": float(rows.loc[method, seed]),
        "development_base": float(rows.loc["base", 0]),
    }
    table = folder.parent / "tables" / "steering.parquet"
    if not table.exists() or method == "random":  # whose row is a mean over seeds
        return found
    rows = read(table, STEERING)
    rows = rows[(rows["model"] == folder.name) & (rows["task"] == task)].set_index("method")
    return {**found, **_test_scores(rows, method)}


def _test_scores(rows: pd.DataFrame, method: str) -> dict[str, float]:
    if method not in rows.index:
        return {}
    own = rows.loc[method]
    names = {
        "score": "test",
        "score_low": "test_low",
        "score_high": "test_high",
        "gain": "test_gain_pp",
    }
    found = {ours: float(own[column]) for column, ours in names.items()}
    return {**found, "test_base": float(rows.loc["base", "score"])}
