"""The tiny LLaVA: CLIP's tower and LLaVA's projector before a Llama."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from hones_core.toy.architecture import Architecture
from hones_core.toy.prompts import build_tokenizer
from hones_core.toy.scenes import GRID, PATCH, SIDE

MODEL = LlavaForConditionalGeneration


def build_config(arch: Architecture, text: dict, tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """The configuration of the two halves."""
    vision = CLIPVisionConfig(
        hidden_size=arch.tower_width,
        intermediate_size=arch.tower_neurons,
        num_hidden_layers=arch.tower_layers,
        num_attention_heads=arch.tower_heads,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    image_token: Any = tokenizer.convert_tokens_to_ids("<image>")
    return LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(**text, tie_word_embeddings=False),
        image_token_index=image_token,
        vision_feature_layer=-1,  # the last layer: a small tower has none to spare
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=False,
    )


def last_projection(model: LlavaForConditionalGeneration) -> nn.Linear:
    """What puts the image into the residual stream."""
    return model.model.multi_modal_projector.linear_2


def start_tower(
    model: LlavaForConditionalGeneration, fill: Callable[[Tensor, float], None]
) -> None:
    """Patches know where they are, and keys are queries: equal features match."""
    tower = model.model.vision_tower
    embeddings = tower.embeddings
    fill(embeddings.class_embedding, 0.3)
    embeddings.position_embedding.weight[0].zero_()
    embeddings.position_embedding.weight[1:].copy_(
        0.5 * _sinusoids(GRID, embeddings.position_embedding.weight.shape[1])
    )
    for layer in tower.encoder.layers:
        layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


def _sinusoids(side: int, width: int) -> Tensor:
    """Return 2-D position vectors, [side * side, width]: half for the row, half for the column."""
    position = torch.arange(side, dtype=torch.float32)
    frequency = torch.pi / 8 * 2.0 ** torch.linspace(-1, 2, width // 4)
    waves = torch.cat(
        [torch.sin(position[:, None] * frequency), torch.cos(position[:, None] * frequency)], 1
    )
    rows, columns = waves.repeat_interleave(side, 0), waves.repeat(side, 1)
    return torch.cat([rows, columns], 1)


def image_features(model: LlavaForConditionalGeneration, pixels: Tensor) -> Tensor:
    """The projected patches [B, 64, d] of normalised pixels [B, 3, 64, 64]."""
    patches = model.model.vision_tower(pixels).last_hidden_state[:, 1:]
    return model.model.multi_modal_projector(patches)


def build_processor() -> LlavaProcessor:
    """Tokenizer and image processor as one."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer("llava"),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def save_processor(folder: Path) -> None:
    """Write tokenizer and image processor."""
    build_processor().save_pretrained(folder)
