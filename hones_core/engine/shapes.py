"""Sizes of a model: what memory and time follow from, without any weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a plan needs no torch
    from hones_core.models.adapter import Adapter

PACKED = ("llava_next", "llava_onevision")  # model_types whose image tokens come from crops
BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class Shape:
    """A language model with a vision tower.

    heads and kv_heads of head_dim each; ffn: neurons per layer; vision: parameters of tower and
    projector; tied: whether the unembedding is the embedding; value_bytes: of one number.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int
    vision: int
    tied: bool
    value_bytes: int

    @property
    def attention(self) -> int:
        """Width of the heads' outputs, the input of o_proj."""
        return self.heads * self.head_dim

    @property
    def key_value_bytes(self) -> int:
        """Bytes of the keys and values of one token in one layer."""
        return 2 * self.kv_heads * self.head_dim * self.value_bytes

    @property
    def ffn_parameters(self) -> int:
        """Gate, up and down projection of one layer."""
        return 3 * self.width * self.ffn

    @property
    def layer_parameters(self) -> int:
        """q, k, v, o and the three projections of the FFN, without norms and biases."""
        grouped = self.attention + self.kv_heads * self.head_dim
        return 2 * self.width * grouped + self.ffn_parameters

    @property
    def weight_bytes(self) -> int:
        """All weights, and the unembedding once more in float32 for a model in half precision."""
        matrix = self.vocabulary * self.width
        numbers = self.layers * self.layer_parameters + self.vision
        numbers += matrix * (1 if self.tied else 2)
        converted = 4 * matrix if self.value_bytes < 4 else 0
        return numbers * self.value_bytes + converted

    def flops(self, context: int) -> float:
        """Multiplications and additions of one token in one layer that sees `context` columns."""
        return 2 * self.layer_parameters + 4 * self.attention * context


def shape_of(adapter: "Adapter") -> Shape:
    """The shape of a loaded model."""
    tower = sum(parameter.numel() for parameter in adapter.model.parameters())
    tower -= sum(parameter.numel() for parameter in adapter.language_model.parameters())
    tied = adapter.unembedding is adapter.model.get_input_embeddings().weight
    k_proj = adapter.layers[0].self_attn.k_proj
    vocabulary, width = adapter.unembedding.shape
    return Shape(
        layers=adapter.n_layers,
        width=width,
        heads=adapter.n_heads,
        kv_heads=k_proj.out_features // adapter.head_dim,
        head_dim=adapter.head_dim,
        ffn=adapter.n_neurons,
        vocabulary=vocabulary,
        vision=tower if tied else tower - adapter.unembedding.numel(),
        tied=tied,
        value_bytes=adapter.unembedding.element_size(),
    )


def shape_from_config(config: dict, dtype: str) -> Shape:
    """The shape of a checkpoint by its config.json.

    The vision tower's parameters are counted without norms, biases and embeddings. Raises KeyError
    if a size is missing.
    """
    text = {**config, **config.get("text_config", {})}
    vision = config.get("vision_config", {})
    heads = text["num_attention_heads"]
    return Shape(
        layers=text["num_hidden_layers"],
        width=text["hidden_size"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads") or heads,
        head_dim=text.get("head_dim") or text["hidden_size"] // heads,
        ffn=text["intermediate_size"],
        vocabulary=text["vocab_size"],
        vision=_vision_parameters(vision, text["hidden_size"]) if vision else 0,
        tied=bool(config.get("tie_word_embeddings", text.get("tie_word_embeddings", False))),
        value_bytes=BYTES[dtype],
    )


def image_tokens(config: dict, least: int = 0, most: int | None = None) -> tuple[int, int]:
    """Image tokens of a photograph of 640 x 480 pixels, and of COCO's largest (640 x 640).

    `least` and `most` bound the pixels to which images of any size are scaled.
    """
    vision = config["vision_config"]
    if config.get("model_type") in PACKED:
        return _packed_tokens(config)
    patch = vision["patch_size"]
    if "image_size" in vision:  # every image is scaled to one size
        return ((vision["image_size"] // patch) ** 2,) * 2
    cell = patch * vision["spatial_merge_size"]
    usual, largest = (_cells(640, side, cell, least, most) for side in (480, 640))
    return usual, largest


def _packed_tokens(config: dict) -> tuple[int, int]:
    """As `image_tokens`, by the model's own packing; imported here, as no other job needs it."""
    from transformers import (
        LlavaNextConfig,
        LlavaNextModel,
        LlavaOnevisionConfig,
        LlavaOnevisionModel,
    )

    from hones_core.models.llava_next import count_features

    classes: dict[str, tuple[Any, Any]] = {
        "llava_next": (LlavaNextModel, LlavaNextConfig),
        "llava_onevision": (LlavaOnevisionModel, LlavaOnevisionConfig),
    }
    kind, read = classes[config["model_type"]]
    parsed = read.from_dict(config)
    usual, largest = (count_features(kind, parsed, side, 640) for side in (480, 640))
    return usual, largest


def _cells(width: int, height: int, cell: int, least: int, most: int | None) -> int:
    """How many cells an image has after it was scaled to between `least` and `most` pixels."""
    area = round(width / cell) * round(height / cell) * cell**2
    if most is not None and area > most:
        scale = (most / (width * height)) ** 0.5
        return max(1, int(width * scale / cell)) * max(1, int(height * scale / cell))
    if area < least:
        scale = (least / (width * height)) ** 0.5
        return -(-int(width * scale) // cell) * -(-int(height * scale) // cell)
    return area // cell**2


def _vision_parameters(vision: dict, width: int) -> int:
    """Layers of a CLIP tower and its projector, or of a Qwen tower and its merger.

    The FFN of Qwen2.5-VL's tower is gated, that of Qwen2-VL's is not.
    """
    if "embed_dim" in vision:
        own = vision["embed_dim"]
        merged = own * vision.get("spatial_merge_size", 2) ** 2
        layer = (4 + 2 * vision.get("mlp_ratio", 4)) * own**2
        return vision["depth"] * layer + merged * (merged + width)
    own = vision["hidden_size"]
    if "depth" in vision:
        merged = own * vision["spatial_merge_size"] ** 2
        layer = 4 * own**2 + 3 * own * vision["intermediate_size"]
        return vision["depth"] * layer + merged * (merged + width)
    layer = 4 * own**2 + 2 * own * vision["intermediate_size"]
    return vision["num_hidden_layers"] * layer + width * (own + width)


# What the config.json of these checkpoints says, so that a plan needs no download.
_CLIP = {
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "image_size": 336,
    "patch_size": 14,
}
_WINDOWED = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "patch_size": 14,
    "spatial_merge_size": 2,
}


def _known(vision: dict, vocabulary: int, tied: bool, *sizes: int) -> dict:
    names = ("num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads")
    text = dict(zip((*names, "intermediate_size"), sizes, strict=True))
    text["vocab_size"] = vocabulary
    return {"text_config": text, "vision_config": vision, "tie_word_embeddings": tied}


KNOWN_CONFIGS = {
    "llava-hf/llava-1.5-7b-hf": _known(_CLIP, 32064, False, 32, 4096, 32, 32, 11008),
    "llava-hf/llava-1.5-13b-hf": _known(_CLIP, 32064, False, 40, 5120, 40, 40, 13824),
    "Qwen/Qwen2.5-VL-7B-Instruct": _known(_WINDOWED, 152064, False, 28, 3584, 28, 4, 18944),
    "Qwen/Qwen2.5-VL-3B-Instruct": _known(_WINDOWED, 151936, True, 36, 2048, 16, 2, 11008),
}
