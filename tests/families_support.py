"""Tiny random models of the further families, with the interface of `Tiny`."""

from pathlib import Path

import torch
from model_support import Tiny, draw_images, randomise
from qwen_support import LEAST, MERGE, MOST, PATCH, StockProcessor
from qwen_support import build_tokenizer as build_qwen_tokenizer
from transformers import (
    CLIPVisionConfig,
    GenerationConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    LlavaOnevisionProcessor,
    MistralConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
)

from hones_core.models import load_model
from hones_core.toy.prompts import build_tokenizer as build_llava_tokenizer

SIDE, CROP_PATCH = 16, 4
PINPOINTS = [[16, 32], [32, 16], [32, 32], [48, 16], [16, 48]]
# The formats of llava-v1.6-mistral-7b and of a Qwen2 model, as in their checkpoints.
MISTRAL_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[INST] {% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for content in message['content'] %}{% if content['type'] == 'text' %}"
    "{{ content['text'] }}{% endif %}{% endfor %} [/INST]{% endfor %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<image>"
    "{% endif %}{% endfor %}{% for content in message['content'] %}"
    "{% if content['type'] == 'text' %}{{ '\n' + content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def text_sizes(tokenizer, **changes) -> dict:
    """A language model of two layers with four query heads on two key-value heads."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    } | changes


def vision_sizes() -> dict:
    """A tower of two layers that reads crops of SIDE pixels in patches."""
    return {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE,
        "patch_size": CROP_PATCH,
    }


def finished(model: PreTrainedModel, tokenizer) -> PreTrainedModel:
    """Ordinary random weights, and an end of the answer."""
    randomise(model.float(), 0)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model.eval()


# --- Qwen2-VL and Qwen3-VL -----------------------------------------------------------------------


def qwen_parts(tokenizer) -> dict:
    """What the configs of both models share."""
    ids = tokenizer.convert_tokens_to_ids
    rotary = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}
    return {
        "text_config": text_sizes(tokenizer, rope_parameters=rotary),
        "image_token_id": ids("<|image_pad|>"),
        "video_token_id": ids("<|video_pad|>"),
        "vision_start_token_id": ids("<|vision_start|>"),
        "vision_end_token_id": ids("<|vision_end|>"),
        "tie_word_embeddings": False,
    }


def qwen_tower() -> dict:
    """Sizes of the towers of both models."""
    return {
        "depth": 2,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
    }


def random_qwen2_vl() -> Qwen2VLForConditionalGeneration:
    tokenizer = build_qwen_tokenizer()
    vision = {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2, **qwen_tower()}
    config = Qwen2VLConfig(vision_config=vision, **qwen_parts(tokenizer))
    return finished(Qwen2VLForConditionalGeneration(config), tokenizer)


def random_qwen3_vl() -> Qwen3VLForConditionalGeneration:
    tokenizer = build_qwen_tokenizer()
    vision = {"hidden_size": 16, "intermediate_size": 16, "out_hidden_size": 32, **qwen_tower()}
    vision |= {"num_position_embeddings": 64, "deepstack_visual_indexes": [0]}
    parts = qwen_parts(tokenizer)
    parts["text_config"]["head_dim"] = 8
    config = Qwen3VLConfig(vision_config=vision, **parts)
    return finished(Qwen3VLForConditionalGeneration(config), tokenizer)


def save_qwen(model: PreTrainedModel, folder: Path) -> None:
    """Write a checkpoint with tokenizer and image processor."""
    model.save_pretrained(folder)
    build_qwen_tokenizer().save_pretrained(folder)
    images = Qwen2VLImageProcessorPil(
        patch_size=PATCH, merge_size=MERGE, min_pixels=LEAST, max_pixels=MOST
    )
    images.save_pretrained(folder)


class Qwen2VLStockProcessor(StockProcessor, Qwen2VLProcessor):
    """Qwen2-VL's processor without its part for videos."""


# --- LLaVA-NeXT and LLaVA-OneVision --------------------------------------------------------------


def image_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """The toy's LLaVA tokenizer, which knows `<image>`, with a chat template."""
    tokenizer = build_llava_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def random_llava_next(language: type = MistralConfig, **changes):
    """Crops of a CLIP tower in a Mistral (without its window) or Llama language model."""
    tokenizer = image_tokenizer(MISTRAL_TEMPLATE)
    window = {"sliding_window": None} if language is MistralConfig else {}
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(**vision_sizes()),
        text_config=language(**text_sizes(tokenizer, **window)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        **{"image_grid_pinpoints": PINPOINTS, "tie_word_embeddings": False} | changes,
    )
    return finished(LlavaNextForConditionalGeneration(config), tokenizer)


def random_onevision(**changes) -> LlavaOnevisionForConditionalGeneration:
    """Crops of a SigLIP tower in a Qwen2; images above two crops are scaled down in packing."""
    tokenizer = image_tokenizer(QWEN_TEMPLATE)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(**vision_sizes(), vision_use_head=False),
        text_config=Qwen2Config(**text_sizes(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=len(tokenizer) - 1,
        **{
            "image_grid_pinpoints": PINPOINTS,
            "vision_aspect_ratio": "anyres_max_2",
            "tie_word_embeddings": False,
        }
        | changes,
    )
    return finished(LlavaOnevisionForConditionalGeneration(config), tokenizer)


def save_llava(model: PreTrainedModel, folder: Path) -> None:
    """Write a checkpoint of either with tokenizer and image processor."""
    model.save_pretrained(folder)
    if isinstance(model, LlavaNextForConditionalGeneration):
        template, kind = MISTRAL_TEMPLATE, LlavaNextImageProcessorPil
        sizes = {"size": {"shortest_edge": SIDE}, "crop_size": {"height": SIDE, "width": SIDE}}
    else:
        template, kind = QWEN_TEMPLATE, LlavaOnevisionImageProcessorPil
        sizes = {"size": {"height": SIDE, "width": SIDE}}
    image_tokenizer(template).save_pretrained(folder)
    kind(image_grid_pinpoints=PINPOINTS, **sizes).save_pretrained(folder)


class OnevisionStockProcessor(LlavaOnevisionProcessor):
    """LLaVA-OneVision's processor without its part for videos, which alone needs torchvision."""

    def check_argument_for_proper_class(self, argument_name, argument):
        """Accept that there is no video processor."""


def next_processor(folder: Path) -> LlavaNextProcessor:
    """The stock processor, as checkpoints configure it."""
    return LlavaNextProcessor(
        LlavaNextImageProcessorPil.from_pretrained(folder),
        PreTrainedTokenizerFast.from_pretrained(folder),
        patch_size=CROP_PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def onevision_processor(folder: Path) -> OnevisionStockProcessor:
    """The stock processor, as checkpoints configure it."""
    return OnevisionStockProcessor(
        LlavaOnevisionImageProcessorPil.from_pretrained(folder),
        PreTrainedTokenizerFast.from_pretrained(folder),
        None,
        num_image_tokens=(SIDE // CROP_PATCH) ** 2,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_2",
    )


MAKERS = {
    "qwen2_vl": (random_qwen2_vl, save_qwen, Qwen2VLStockProcessor.of),
    "llava_next": (random_llava_next, save_llava, next_processor),
    "llava_onevision": (random_onevision, save_llava, onevision_processor),
}


def make_tiny_family(family: str, folder: Path) -> Tiny:
    """Save, and load in both ways, a random model of a family."""
    torch.set_num_threads(1)
    make, save, processor = MAKERS[family]
    model = make()
    save(model, folder / "model")
    draw_images(folder / "images")
    return Tiny(
        folder / "model",
        folder / "images",
        load_model(str(folder / "model"), family, device="cpu"),
        type(model).from_pretrained(folder / "model", dtype=torch.float32).eval(),
        processor(folder / "model"),
    )
