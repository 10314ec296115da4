"""A model larger than one GPU: its layers divided among several, by accelerate's device map.

Accelerate's hooks move a module's input to where its weights lie, so that the stock model runs as
it is. What the engine does between the modules it moves itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from hones_core.models.adapter import ModelError

SHARE = 0.9  # of a GPU's free memory, at most, that weights may take
STEPS = 64  # of that share: the smallest one that holds the model is found to 1 / 64
GB = 1e9


@dataclass(frozen=True)
class Place:
    """A device, and the bytes that are free on it."""

    device: torch.device
    free: int


def gpus() -> list[Place]:
    """The GPUs that torch sees, with their free memory, in their order."""
    if not torch.cuda.is_available():
        return []
    devices = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    return [Place(device, torch.cuda.mem_get_info(device)[0]) for device in devices]


def require_gpus(places: Sequence[Place]) -> None:
    """Raise ModelError if there is nothing to divide a model among."""
    if not places:
        raise ModelError(
            "device: split divides a model among GPUs, but torch sees none here. Start this on a "
            "machine with GPUs, or set the model's device to cpu"
        )


def device_map(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    dtype: torch.dtype,
    places: Sequence[Place],
) -> dict[str, str]:
    """The device of every module, {its name: "cuda:1"}; no weights are read.

    Modules are placed in their order: the vision tower and the embeddings on the first device, the
    final norm and `lm_head` on the last that is needed. Each device is filled to the same share of
    its free memory, the smallest that holds all. A decoder layer is never cut, nor is what stands
    before the language model. Raises ModelError that says how many GB are missing: nothing is ever
    left to main memory or to disk.
    """
    from accelerate import init_empty_weights

    with init_empty_weights():
        built: Any = model_class(config)
        model = built.to(dtype)
    model.tie_weights()
    low, high = 0, STEPS
    found = _placed(model, _limits(model, places, high))
    if missing := _bytes_without_place(model, found):
        raise ModelError(_too_large(model, places, missing))
    while high - low > 1:  # the smallest share in (low, high] that is enough
        middle = (low + high) // 2
        tried = _placed(model, _limits(model, places, middle))
        if _bytes_without_place(model, tried):
            low = middle
        else:
            high, found = middle, tried
    return {name: str(places[int(index)].device) for name, index in found.items()}


def dispatch_on_one(model: PreTrainedModel, where: dict[str, str]) -> None:
    """Put accelerate's hooks on a model that a map leaves on one device, where it gets none.

    That is the case in tests, which so run all that runs on several devices.
    """
    from accelerate import dispatch_model

    if len(set(where.values())) == 1:
        skipped = model._skip_keys_device_placement
        dispatch_model(model, where, skip_keys=skipped, force_hooks=True)


def _limits(model: PreTrainedModel, places: Sequence[Place], step: int) -> dict[int, int]:
    """Bytes of weights that each place may take; the last one also makes U in float32."""
    limits = {index: int(place.free * SHARE) for index, place in enumerate(places)}
    unembedding = model.lm_head.weight
    if unembedding.dtype != torch.float32:
        last = len(places) - 1
        limits[last] = max(0, limits[last] - 4 * unembedding.numel())
    return {index: limit * step // STEPS for index, limit in limits.items()}


def _placed(model: PreTrainedModel, limits: dict[int, int]) -> dict[str, int | str]:
    """The place of each module, "disk" for what finds none."""
    from accelerate import infer_auto_device_map

    language_model = model.model.language_model
    whole = {type(child) for child in model.model.children() if child is not language_model}
    names = {kind.__name__ for kind in whole} | {type(language_model.layers[0]).__name__}
    return infer_auto_device_map(
        model, max_memory=dict(limits), no_split_module_classes=sorted(names)
    )


def _bytes_without_place(model: nn.Module, placed: dict[str, int | str]) -> int:
    """Bytes of the weights whose module found no place."""
    lost = [name for name, place in placed.items() if not isinstance(place, int)]
    return sum(
        parameter.numel() * parameter.element_size()
        for name, parameter in model.named_parameters()
        if any(name == one or name.startswith(f"{one}.") or not one for one in lost)
    )


def _too_large(model: nn.Module, places: Sequence[Place], missing: int) -> str:
    whole = sum(one.numel() * one.element_size() for one in model.parameters())
    free = ", ".join(f"{place.free / GB:.3g} GB on {place.device}" for place in places)
    return (
        f"the weights need {whole / GB:.3g} GB; {free} are free, of which {SHARE:.0%} may be taken "
        f"by weights: about {missing / GB:.3g} GB are missing. Nothing is left to main memory or "
        "disk: free the GPUs, ask for more of them, or set dtype to float16"
    )
