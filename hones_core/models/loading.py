"""Load a model by local folder or hub id, with safetensors only and no remote code."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import cached_file

from hones_core import family_catalogue
from hones_core.models.adapter import Adapter, ModelError
from hones_core.models.split import Place, device_map, dispatch_on_one, gpus, require_gpus

# Model, image processor and adapter of a family. They are imported when they are asked for: all
# of them together would take a second from every job.
Classes = tuple[Any, Any, type[Adapter]]


def _llava() -> Classes:
    from transformers import CLIPImageProcessorPil, LlavaForConditionalGeneration

    from hones_core.models.llava import LlavaAdapter

    return LlavaForConditionalGeneration, CLIPImageProcessorPil, LlavaAdapter


def _qwen2_5_vl() -> Classes:
    from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil

    from hones_core.models.qwen2_5_vl import Qwen2_5_VLAdapter

    return Qwen2_5_VLForConditionalGeneration, Qwen2VLImageProcessorPil, Qwen2_5_VLAdapter


def _qwen2_vl() -> Classes:
    from transformers import Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

    from hones_core.models.qwen2_vl import Qwen2VLAdapter

    return Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil, Qwen2VLAdapter


def _llava_next() -> Classes:
    from transformers import LlavaNextForConditionalGeneration, LlavaNextImageProcessorPil

    from hones_core.models.llava_next import LlavaNextAdapter

    return LlavaNextForConditionalGeneration, LlavaNextImageProcessorPil, LlavaNextAdapter


def _llava_onevision() -> Classes:
    from transformers import (
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
    )

    from hones_core.models.llava_next import LlavaOnevisionAdapter

    return (
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessorPil,
        LlavaOnevisionAdapter,
    )


FAMILIES: dict[str, Callable[[], Classes]] = {
    "llava": _llava,
    "qwen2_5_vl": _qwen2_5_vl,
    "qwen2_vl": _qwen2_vl,
    "llava_next": _llava_next,
    "llava_onevision": _llava_onevision,
}
# As config.json names them.
ARCHITECTURES = {name: family.architecture for name, family in family_catalogue.FAMILIES.items()}

# Architectures that are known not to be what the engine replays, and why.
_DEEPSTACK = (
    "its tower's deepstack features are added to the outputs of the first decoder layers; the "
    "engine's replays start from the embeddings or a changed layer and would leave them out"
)
UNSUPPORTED = {
    "Qwen3VLForConditionalGeneration": _DEEPSTACK,
    "Qwen3VLMoeForConditionalGeneration": f"{_DEEPSTACK}; and its FFNs are mixed experts",
}
RECIPE = (
    "it needs an adapter: a subclass of Adapter and a line in FAMILIES; CONTRIBUTING.md says how"
)

# What the loaders raise for files that are missing, damaged or do not fit together.
LOAD_ERRORS = (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError)

SPLIT = "split"  # the device of a model whose layers are divided among all GPUs

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_model(
    path: str,
    family: str,
    dtype: str = "float32",
    device: str = "auto",
    revision: str | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    places: Sequence[Place] | None = None,
) -> Adapter:
    """Load the model at `path` (a folder or a hub id) for inference.

    `dtype` is a key of DTYPES; `device` 'auto', a name that torch knows, or 'split': the layers
    divided among `places` (None: all GPUs; one alone takes the whole model). `min_pixels` and
    `max_pixels` bound the area to which a family that takes images of any size scales them; None
    is the checkpoint's own bound. Raises ModelError for an unknown family or dtype, bounds that
    the family has no use for, an architecture that is not the family's, missing, incomplete or
    damaged weights, layers that the analysis cannot read, a tokenizer or image processor that
    does not fit the model, and a model that is to be split where there is no GPU, or too little
    room on all of them.
    """
    source: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    if family not in FAMILIES:
        raise ModelError(
            f"unknown model family {family!r}; known: {', '.join(FAMILIES)}. {path} holds "
            f"{advice(_config(path, source).architectures or [])}"
        )
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
    model_class, processor_class, adapter_class = FAMILIES[family]()
    pixels = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    pixels = {name: value for name, value in pixels.items() if value is not None}
    if pixels and not family_catalogue.FAMILIES[family].any_resolution:
        raise ModelError(
            f"{family} has images of one size or crops of that size: leave "
            f"{' and '.join(pixels)} null"
        )
    config = _check_architecture(path, ARCHITECTURES[family], source)
    where = _where(model_class, config, DTYPES[dtype], device, places)
    placed: dict[str, Any] = {"device_map": where} if isinstance(where, dict) else {}
    try:
        model, report = model_class.from_pretrained(
            path,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            **placed,
            **source,
        )
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot load {family} model from {path}: {error}. It needs whole safetensors weights; "
            "pickled ones are refused"
        ) from error
    _check_report(path, report)
    try:
        tokenizer = load_tokenizer(path, revision)
        image_processor = processor_class.from_pretrained(path, **pixels, **source)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot load the tokenizer and image processor at {path}: {error}. Put the "
            "tokenizer's files (tokenizer.json, tokenizer_config.json) and "
            "preprocessor_config.json of this very checkpoint beside its weights"
        ) from error
    if isinstance(where, dict):
        dispatch_on_one(model, where)
    else:
        model = model.to(where)
    return adapter_class(model, tokenizer, image_processor, revision)


def _check_report(path: str, report: dict) -> None:
    """Refuse tensors that are missing or do not fit: transformers would make up random ones."""
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"the weights at {path} are incomplete: {len(missing)} tensors are missing, such as "
            f"{missing[0]}. Copy or download the whole checkpoint again"
        )
    unfit = sorted(report["mismatched_keys"])
    if unfit:
        name, found, wanted = unfit[0]
        raise ModelError(
            f"the weights at {path} do not fit its config.json: {len(unfit)} tensors have another "
            f"shape, such as {name} with {list(found)} where {list(wanted)} is expected. Take "
            "weights and config.json of the same checkpoint"
        )


def load_tokenizer(path: str, revision: str | None = None) -> Any:
    """The tokenizer, with the chat template of the full processor where there is one.

    Raises one of LOAD_ERRORS.
    """
    tokenizer = AutoTokenizer.from_pretrained(path, revision=revision, trust_remote_code=False)
    template = _processor_chat_template(path, revision)
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


def choose_device(device: str) -> torch.device:
    """'auto' is the first GPU where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _processor_chat_template(path: str, revision: str | None) -> str | None:
    """The template in chat_template.json, which only full processors read; None without one."""
    found = cached_file(
        path,
        "chat_template.json",
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
    )
    if found is None:
        return None
    return json.loads(Path(found).read_text(encoding="utf-8")).get("chat_template")


def computing_names(device: str) -> str:
    """The names of the devices that compute: of one GPU, of all that a split model uses, or cpu."""
    if device == SPLIT:
        return " + ".join(torch.cuda.get_device_name(place.device) for place in gpus())
    chosen = choose_device(device)
    return torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else chosen.type


def _where(
    model_class: type[PreTrainedModel],
    config: PreTrainedConfig,
    dtype: torch.dtype,
    device: str,
    places: Sequence[Place] | None,
) -> torch.device | dict[str, str]:
    """The one device of a model, or the device of each of its modules."""
    if device != SPLIT:
        return choose_device(device)
    places = gpus() if places is None else places
    require_gpus(places)
    if len(places) == 1:
        return places[0].device
    return device_map(model_class, config, dtype, places)


def advice(architectures: list) -> str:
    """A checkpoint's architectures, and what can be done with them."""
    names = [str(name) for name in architectures]
    for name in names:
        if name in UNSUPPORTED:
            return f"{name}, which is not supported: {UNSUPPORTED[name]}"
        for family, architecture in ARCHITECTURES.items():
            if architecture == name:
                return f"{name}, whose family is {family}"
    return f"{', '.join(names) or 'no architecture'}, which is not known here: {RECIPE}"


def _check_architecture(path: str, expected: str, source: dict) -> PreTrainedConfig:
    """The model's config, if it is the family's."""
    config = _config(path, source)
    architectures = config.architectures or []
    if expected not in architectures:
        raise ModelError(f"the family needs {expected}, but {path} holds {advice(architectures)}")
    return config


def _config(path: str, source: dict) -> PreTrainedConfig:
    """The checkpoint's config.json; ModelError if it cannot be read."""
    if Path(path).is_dir() and not (Path(path) / "config.json").exists():
        raise ModelError(f"{path} is a folder without config.json; it is not a model")
    try:
        config = AutoConfig.from_pretrained(path, **source)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot read the model's config at {path!r}: {error}. Give a local folder or a hub id "
            "in `models` of the config"
        ) from error
    return config
