"""The tiny Qwen2.5-VL: a windowed tower, a merger of patches, a Qwen2.5 with grouped queries."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from hones_core.toy.architecture import Architecture
from hones_core.toy.prompts import build_tokenizer
from hones_core.toy.scenes import GRID, SIDE

MODEL = Qwen2_5_VLForConditionalGeneration
MERGE = 2  # patches to a side of a feature
PATCH = SIDE // GRID // MERGE  # pixels
FRAMES = 2  # the tower reads pairs of frames; an image is its own second frame
THETA = 30.0  # an image has 8 columns: their angles must differ more than in a photograph's 24


def build_config(
    arch: Architecture, text: dict, tokenizer: PreTrainedTokenizerFast
) -> Qwen2_5_VLConfig:
    """The configuration of the two halves."""
    ids: Any = tokenizer.convert_tokens_to_ids
    half = arch.width // arch.heads // 2
    sections = [half // 4, half * 3 // 8, half - half // 4 - half * 3 // 8]
    rotary = {"rope_type": "default", "rope_theta": THETA, "mrope_section": sections}
    vision = {
        "depth": arch.tower_layers,
        "hidden_size": arch.tower_width,
        "intermediate_size": arch.tower_neurons,
        "num_heads": arch.tower_heads,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": FRAMES,
        "window_size": SIDE // 2,
        "fullatt_block_indexes": list(range(1, arch.tower_layers)),
        "out_hidden_size": arch.width,
    }
    return Qwen2_5_VLConfig(
        text_config={**text, "rope_parameters": rotary},
        vision_config=vision,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def last_projection(model: Qwen2_5_VLForConditionalGeneration) -> nn.Linear:
    """What puts the image into the residual stream."""
    return model.model.visual.merger.mlp[2]


def start_tower(
    model: Qwen2_5_VLForConditionalGeneration, fill: Callable[[Tensor, float], None]
) -> None:
    """Keys are queries: equal features match."""
    for block in model.model.visual.blocks:
        queries, keys, _ = block.attn.qkv.weight.chunk(3)
        keys.copy_(queries)


def image_features(model: Qwen2_5_VLForConditionalGeneration, pixels: Tensor) -> Tensor:
    """The merged patches [B, 64, d] of normalised pixels [B, 3, 64, 64]."""
    grid = torch.tensor([[1, SIDE // PATCH, SIDE // PATCH]], device=pixels.device)
    merged = model.model.visual(as_patches(pixels), grid_thw=grid.expand(len(pixels), -1))
    return merged.pooler_output.unflatten(0, (len(pixels), -1))


def as_patches(pixels: Tensor) -> Tensor:
    """Pixels [B, 3, 64, 64] as the image processor cuts them up: [patches, values of a patch].

    Patches that are merged are neighbours.
    """
    cells = pixels.unflatten(3, (GRID, MERGE, PATCH)).unflatten(2, (GRID, MERGE, PATCH))
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7)  # image, row, column, row and column in it, …
    frames = cells[..., None, :, :].expand(*cells.shape[:-2], FRAMES, PATCH, PATCH)
    return frames.reshape(len(pixels) * (GRID * MERGE) ** 2, -1)


def save_processor(folder: Path) -> None:
    """Write tokenizer and image processor, which scales every image to the area of a scene."""
    build_tokenizer("qwen2_5_vl").save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=FRAMES,
        min_pixels=SIDE * SIDE,
        max_pixels=SIDE * SIDE,
    ).save_pretrained(folder)
