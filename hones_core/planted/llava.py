"""A planted `LlavaForConditionalGeneration`: the tower, the projector, and the whole model.

The tower's patch embedding takes the mean of each colour channel; the position embeddings add the
slot's number. Every feature stands there twice, once negated, so that the layer norm finds mean 0
and, all features being +1 or -1, the same variance everywhere. Its one encoder layer adds nothing.
The projector's first layer finds the colour: of the corners of a cube, each is further out in its
own direction than any other; its GELU cuts the others off.
"""

from typing import Any

import torch
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from hones_core.models.llava import LlavaAdapter
from hones_core.planted.circuit import HEADS, LAYERS, NEURONS
from hones_core.planted.decoder import CONSTANT, HEAD_DIM, ROPE_BASE, write_decoder
from hones_core.planted.layout import WIDTH, dimension
from hones_core.planted.plan import Planted
from hones_core.planted.world import (
    BRIGHT,
    CONTENTS,
    DARK,
    PAINTS,
    PATCH,
    SIDE,
    SLOTS,
    build_tokenizer,
)

CHANNELS = 3
TOWER_FEATURES = CHANNELS + SLOTS
GELU_INPUT = 6.0  # GELU passes it as it is, and its negative as nothing

# How LLaVA-1.5's conversation format ends a prompt of each task.
PROMPT_ENDS = {
    "vqa": "Answer the question briefly using one or a few words. ASSISTANT:",
    "ocr": "Please transcribe the text inside the blue box. Output text only. ASSISTANT:",
    "caption": "Describe the image in one sentence. ASSISTANT:",
    "retrieval": "Does the candidate correctly describe the image? "
    "Answer exactly Yes or No. ASSISTANT:",
}


def build_llava(planted: Planted) -> LlavaAdapter:
    """The planted model in memory, with its tokenizer and image processor."""
    tokenizer = build_tokenizer(PROMPT_ENDS)
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    model = LlavaForConditionalGeneration(_config(tokenizer)).float().eval()
    ids = tokenizer.get_vocab()
    ids |= {f"end of {task}": ids[text] for task, text in PROMPT_ENDS.items()}
    write_decoder(model.model.language_model, model.lm_head, ids, planted)
    _write_tower(model.model.vision_tower, images)
    _write_projector(model.model.multi_modal_projector)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return LlavaAdapter(model, tokenizer, images)


def _config(tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    vision = CLIPVisionConfig(
        hidden_size=2 * TOWER_FEATURES,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=NEURONS,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=256,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_BASE},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    image_token: Any = tokenizer.convert_tokens_to_ids("<image>")
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=SLOTS,
        tie_word_embeddings=False,
    )


@torch.no_grad()
def _write_tower(tower: Any, images: CLIPImageProcessorPil) -> None:
    """Patches to [colour signs, slot signs] and the same negated."""
    for parameter in tower.parameters():
        parameter.zero_()
    embeddings = tower.embeddings
    mean, std = torch.tensor(images.image_mean), torch.tensor(images.image_std)
    middle, half = (BRIGHT + DARK) / 510, (BRIGHT - DARK) / 510  # the processor's scale is 0 to 1
    kernel = torch.zeros(TOWER_FEATURES, CHANNELS, PATCH, PATCH)
    for channel in range(CHANNELS):
        kernel[channel, channel] = std[channel] / half / PATCH**2
    positions = torch.full((1 + SLOTS, TOWER_FEATURES), -1.0)  # the first is the class token's
    positions[1:, CHANNELS:] += 2 * torch.eye(SLOTS)
    positions[1:, :CHANNELS] = (mean - middle) / half
    embeddings.patch_embedding.weight.copy_(torch.cat([kernel, -kernel]))
    embeddings.position_embedding.weight.copy_(torch.cat([positions, -positions], 1))
    norms = [module for module in tower.modules() if isinstance(module, nn.LayerNorm)]
    for norm in norms:
        norm.weight.fill_(1)


@torch.no_grad()
def _write_projector(projector: Any) -> None:
    """Colour and slot to one feature each, and the constant."""
    for parameter in projector.parameters():
        parameter.zero_()
    first, second = projector.linear_1, projector.linear_2
    units = [("content", k) for k in range(CONTENTS)] + [("slot", k) for k in range(SLOTS)]
    for unit, (name, index) in enumerate(units):
        if name == "content":  # 3 for its own colour, at most 1 for another
            first.weight[unit, :CHANNELS] = GELU_INPUT * torch.tensor(PAINTS[index]).float()
            first.bias[unit] = -2 * GELU_INPUT
        else:
            first.weight[unit, CHANNELS + index] = GELU_INPUT
        second.weight[dimension((name, index)), unit] = 1 / GELU_INPUT
    second.bias[dimension(("constant", 0))] = CONSTANT
