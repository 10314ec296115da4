"""Load a model by local folder or hub id, with safetensors only and no remote code."""

from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoTokenizer,
    CLIPImageProcessorPil,
    LlavaForConditionalGeneration,
)

from hones_core.models.adapter import Adapter, ModelError
from hones_core.models.llava import LlavaAdapter

FAMILIES = {"llava": (LlavaForConditionalGeneration, CLIPImageProcessorPil, LlavaAdapter)}

# What the loaders raise for files that are missing, damaged or do not fit together.
LOAD_ERRORS = (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def load_model(
    path: str,
    family: str,
    dtype: str = "float32",
    device: str = "auto",
    revision: str | None = None,
) -> Adapter:
    """Load the model at `path` (a folder or a hub id) for inference.

    `dtype` is a key of DTYPES; `device` 'auto' or a name that torch knows. Raises ModelError for
    an unknown family or dtype, an architecture that is not the family's, missing, incomplete or
    damaged weights, and layers that the analysis cannot read.
    """
    if family not in FAMILIES:
        raise ModelError(f"unknown model family {family!r}; known: {', '.join(FAMILIES)}")
    if dtype not in DTYPES:
        raise ModelError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
    model_class, processor_class, adapter_class = FAMILIES[family]
    source = {"revision": revision, "trust_remote_code": False}
    _check_architecture(path, model_class.__name__, source)
    try:
        model, report = model_class.from_pretrained(
            path,
            dtype=DTYPES[dtype],
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
            **source,
        )
        tokenizer = AutoTokenizer.from_pretrained(path, **source)
        image_processor = processor_class.from_pretrained(path, **source)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot load {family} model from {path}: {error}. It needs whole safetensors weights "
            "(pickled ones are refused), a tokenizer and an image processor"
        ) from error
    missing = sorted(report["missing_keys"])
    if missing:  # transformers would go on with random numbers in their place
        raise ModelError(
            f"the weights at {path} are incomplete: {len(missing)} tensors are missing, such as "
            f"{missing[0]}"
        )
    return adapter_class(model.to(choose_device(device)), tokenizer, image_processor, revision)


def choose_device(device: str) -> torch.device:
    """'auto' is the first GPU where there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def _check_architecture(path: str, expected: str, source: dict) -> None:
    if Path(path).is_dir() and not (Path(path) / "config.json").exists():
        raise ModelError(f"{path} is a folder without config.json; it is not a model")
    try:
        config = AutoConfig.from_pretrained(path, **source)
    except LOAD_ERRORS as error:
        raise ModelError(
            f"cannot read the model's config at {path!r}: {error}. Give a local folder or a hub id "
            "in `models` of the config"
        ) from error
    architectures = config.architectures or []
    if expected not in architectures:
        raise ModelError(f"{path} holds {architectures}, but the family needs {expected}")
