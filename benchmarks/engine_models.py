"""Random models of the two families for `benchmarks/engine.py`: shapes, tokenizers, adapters.

The weights are random; classes, prompt formats and image processors are the real ones. Words are
whole tokens, so that prompts are about as long as with the real tokenizers.
"""

from dataclasses import dataclass, field

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from torch import nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from hones_core.models.adapter import Adapter
from hones_core.models.llava import LlavaAdapter
from hones_core.models.qwen2_5_vl import Qwen2_5_VLAdapter

CONTENT = """
    red green blue brown white black small large old young wooden bright man woman dog cat horse bus
    train table plate pizza street sign umbrella boat kite wave bench clock tower bicycle child bird
    sheep laptop bottle sandwich field beach kitchen window riding holding watching carrying passing
    facing leaving eating near under behind beside above across
""".split()  # noqa: SIM905 - a word list reads best as text
_FORMAT = """
    USER ASSISTANT Question Candidate What Which color kind is are a an the of in on to with and you
    You helpful assistant system user does Does this that image one sentence Describe Answer Please
    Transcribe transcribe text Text inside blue box Output only question briefly using or few words
    short phrase candidate correctly describe exactly Yes No yes no
""".split()  # noqa: SIM905
_CHAT_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}<|im_start|>system\n"
    "You are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ content['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAVA_SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
_QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
)


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder, of an image (height, width), and what the vision config takes.

    habit: how much a token by itself makes a certain other one likely to follow. It sets how often
    the loss of one head changes an answer.
    """

    layers: int
    width: int
    heads: int
    kv_heads: int
    neurons: int
    vocabulary: int
    image: tuple[int, int]
    habit: float
    vision: dict = field(default_factory=dict)


def _clip(width: int, neurons: int, layers: int, heads: int, side: int, patch: int) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": neurons,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "image_size": side,
        "patch_size": patch,
    }


def _qwen_vision(width: int, neurons: int, layers: int, heads: int, whole: list[int]) -> dict:
    return {
        "hidden_size": width,
        "intermediate_size": neurons,
        "depth": layers,
        "num_heads": heads,
        "fullatt_block_indexes": whole,
    }


# bench: 256 image tokens; neurons to width, and vocabulary to the weights of a layer, as in the 7B
# models. 7b: those models and what they make of a COCO photograph. quick: for a smoke test.
SHAPES = {
    "llava": {
        "quick": Shape(
            3, 64, 4, 4, 172, 512, (56, 56), 16.0, _clip(32, 64, 1, 2, 56, 14)
        ),
        "bench": Shape(
            12, 512, 16, 16, 1376, 4096, (224, 224), 18.0, _clip(512, 2048, 6, 8, 224, 14)
        ),
        "7b": Shape(
            32, 4096, 32, 32, 11008, 32064, (480, 640), 16.0, _clip(1024, 4096, 24, 16, 336, 14)
        ),
    },
    "qwen2_5_vl": {
        "quick": Shape(
            3, 64, 4, 2, 172, 512, (112, 112), 16.0, _qwen_vision(32, 64, 2, 2, [1])
        ),
        "bench": Shape(
            12, 512, 16, 4, 2704, 16384, (448, 448), 16.0, _qwen_vision(320, 856, 4, 4, [3])
        ),
        "7b": Shape(
            28,
            3584,
            28,
            4,
            18944,
            152064,
            (480, 640),
            16.0,
            _qwen_vision(1280, 3420, 32, 16, [7, 15, 23, 31]),
        ),
    },
}  # fmt: skip


def build_adapter(
    family: str,
    shape: Shape,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> Adapter:
    """A model with random weights, made on its device in its type."""
    tokenizer = build_tokenizer(family)
    if family == "llava":
        model_class, config = LlavaForConditionalGeneration, _llava_config(shape, tokenizer)
    else:
        model_class, config = Qwen2_5_VLForConditionalGeneration, _qwen_config(shape, tokenizer)
    with torch.device(device):
        model = model_class._from_config(config, dtype=dtype, attn_implementation="sdpa")
    randomise(model, shape, len(tokenizer))
    model.generation_config = GenerationConfig(eos_token_id=tokenizer.eos_token_id)
    if family == "llava":
        side = shape.vision["image_size"]
        images = CLIPImageProcessorPil(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}
        )
        return LlavaAdapter(model, tokenizer, images)
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2)
    return Qwen2_5_VLAdapter(model, tokenizer, images)


@torch.no_grad()
def randomise(model: nn.Module, shape: Shape, n_words: int) -> None:
    """Random weights; the unembedding of ids that the tokenizer does not have is zero.

    Matrices have a standard deviation of 1 / sqrt(inputs); norms and biases are near 1 and 0. The
    words follow each other in a circle by `habit`, against which the rest of the model is noise.
    Special tokens are never the answer, so that answers end where the benchmark wants them to.
    """
    generator = torch.Generator(model.device).manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.normal_(0.0 if name.endswith("bias") else 1.0, 0.1, generator=generator)
        else:
            parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
    embeddings = model.get_input_embeddings().weight.normal_(generator=generator)
    first = max(len(_LLAVA_SPECIAL), len(_QWEN_SPECIAL))
    order = first + torch.randperm(n_words - first, generator=generator, device=model.device)
    unembedding = model.lm_head.weight
    unembedding[order.roll(1)] += embeddings[order] * (shape.habit / shape.width)
    unembedding[n_words:] = 0
    unembedding[:first] = 0


def build_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Bytes and whole words, with and without a leading space, in the family's format."""
    special = _LLAVA_SPECIAL if family == "llava" else _QWEN_SPECIAL
    entries = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    for word in [*_FORMAT, *CONTENT]:
        entries += [word, "\u0120" + word]  # U+0120 is how byte-level BPE writes a space
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    common = {"clean_up_tokenization_spaces": False, "padding_side": "left"}
    if family == "llava":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", **common
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_CHAT_TEMPLATE,
        **common,
    )


def _text(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> dict:
    return {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.width,
        "intermediate_size": shape.neurons,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": 4096,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _llava_config(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    return LlavaConfig(
        vision_config=CLIPVisionConfig(**shape.vision),
        text_config=LlamaConfig(**_text(shape, tokenizer), tie_word_embeddings=False),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )


def _qwen_config(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> PretrainedConfig:
    half = shape.width // shape.heads // 2
    sections = [half // 4, half * 3 // 8, half - half // 4 - half * 3 // 8]
    rotary = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": sections}
    vision = {
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "window_size": 112,
        "out_hidden_size": shape.width,
    }
    token = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={**_text(shape, tokenizer), "rope_parameters": rotary},
        vision_config={**vision, **shape.vision},
        image_token_id=token("<|image_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=False,
    )
