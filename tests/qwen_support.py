"""A tiny random Qwen2.5-VL, for the same comparisons with the stock classes."""

from pathlib import Path

import torch
from model_support import Tiny, draw_images, randomise
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
)

from hones_core.models import load_model
from hones_core.toy.prompts import build_tokenizer as build_toy_tokenizer

PATCH, MERGE = 4, 2
LEAST, MOST = 64, 640  # pixels
SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
# Qwen's own: how it splits text before the byte pairs, and its format of a conversation.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n"
    "{% else %}{% for content in message['content'] %}"
    "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes and the toy's words, split as Qwen splits text; Qwen's special tokens and template."""
    toy = build_toy_tokenizer()
    words = [word for word in sorted(toy.get_vocab()) if not set(word) & set("<>: ")]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = dict.fromkeys([*SPECIAL, *alphabet, *words])
    vocabulary = {entry: index for index, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
        clean_up_tokenization_spaces=False,
    )


def random_qwen(
    heads: int = 4, kv_heads: int = 2, layers: int = 2, neurons: int = 24, seed: int = 0
) -> Qwen2_5_VLForConditionalGeneration:
    """A model with ordinary random weights, large enough for every part to matter."""
    ids = build_tokenizer().convert_tokens_to_ids
    text = {
        "vocab_size": len(build_tokenizer()),
        "hidden_size": 8 * heads,
        "intermediate_size": neurons,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 512,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [2, 1, 1],  # half of the head's 8 dimensions
        },
        "bos_token_id": None,
        "eos_token_id": ids("<|im_end|>"),
        "pad_token_id": ids("<|endoftext|>"),
    }
    vision = {
        "depth": 2,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_heads": 2,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "window_size": 2 * MERGE * PATCH,  # smaller than most images
        "fullatt_block_indexes": [1],
        "out_hidden_size": 8 * heads,
    }
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=False,
    )
    model = Qwen2_5_VLForConditionalGeneration(config).float()
    randomise(model, seed)
    model.generation_config = GenerationConfig(
        eos_token_id=[ids("<|im_end|>"), ids("<|endoftext|>")],
        pad_token_id=ids("<|endoftext|>"),
        repetition_penalty=1.05,  # as the real checkpoints have
    )
    return model.eval()


def save_qwen(model: Qwen2_5_VLForConditionalGeneration, folder: Path) -> None:
    """Write a checkpoint in float32 with tokenizer and image processor."""
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
    Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        min_pixels=LEAST,
        max_pixels=MOST,
    ).save_pretrained(folder)


class StockProcessor(Qwen2_5_VLProcessor):
    """The stock processor without its part for videos, which alone needs torchvision."""

    def check_argument_for_proper_class(self, argument_name, argument):
        """Accept that there is no video processor."""

    @classmethod
    def of(cls, folder: Path) -> "StockProcessor":
        """The processor of a checkpoint."""
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
        images = Qwen2VLImageProcessorPil.from_pretrained(folder)
        return cls(images, tokenizer, None, chat_template=tokenizer.chat_template)


def make_tiny_qwen(folder: Path, **sizes: int) -> Tiny:
    """Save, and load in both ways, a random Qwen2.5-VL of the given sizes."""
    torch.set_num_threads(1)
    save_qwen(random_qwen(**sizes), folder / "model")
    draw_images(folder / "images")
    stock = Qwen2_5_VLForConditionalGeneration.from_pretrained(
        folder / "model", dtype=torch.float32
    )
    stock.generation_config.repetition_penalty = 1.0
    return Tiny(
        folder / "model",
        folder / "images",
        load_model(str(folder / "model"), "qwen2_5_vl", device="cpu"),
        stock.eval(),
        StockProcessor.of(folder / "model"),
    )


def smart_size(height: int, width: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """Rows and columns of features of an image, from Qwen2-VL's description.

    `unit` is the side of a feature in pixels, `least` and `most` bound the image's area.
    """
    rows, columns = round(height / unit), round(width / unit)
    area = rows * columns * unit * unit
    if area > most:
        scale = (most / (height * width)) ** 0.5
        rows = max(1, int(height * scale / unit))
        columns = max(1, int(width * scale / unit))
    elif area < least:
        scale = (least / (height * width)) ** 0.5
        rows, columns = (-int(-side * scale // unit) for side in (height, width))
    return rows, columns
