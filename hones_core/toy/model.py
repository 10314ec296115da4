"""The tiny LLaVA: its shape, its starting weights, and the write separation.

Write separation: the last `readout_width` dimensions of the residual stream are the only ones that
the unembedding reads, and only feed-forward layers write them. Attention, the embeddings and the
projector are barred by plain zeros in their weights, so that attention routes and the FFNs answer.
Without it so small a world is solved by attention alone, and no neuron matters.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from hones_core.toy.scenes import GRID, PATCH, SIDE
from hones_core.toy.vocabulary import COLOURS, SHAPES, build_tokenizer


@dataclass(frozen=True)
class Architecture:
    """Sizes of the model; widths in dimensions."""

    width: int = 128
    readout_width: int = 48
    layers: int = 4
    heads: int = 8
    neurons: int = 640  # per layer
    tower_width: int = 128
    tower_layers: int = 3
    tower_heads: int = 4
    tower_neurons: int = 384


def build_config(arch: Architecture, tokenizer: PreTrainedTokenizerFast) -> LlavaConfig:
    """Return the configuration of the two halves."""
    vision = CLIPVisionConfig(
        hidden_size=arch.tower_width,
        intermediate_size=arch.tower_neurons,
        num_hidden_layers=arch.tower_layers,
        num_attention_heads=arch.tower_heads,
        image_size=SIDE,
        patch_size=PATCH,
        hidden_act="gelu",
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=arch.width,
        intermediate_size=arch.neurons,
        num_hidden_layers=arch.layers,
        num_attention_heads=arch.heads,
        num_key_value_heads=arch.heads,
        max_position_embeddings=256,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,  # the last layer: a small tower has none to spare
        vision_feature_select_strategy="default",
        image_seq_length=GRID * GRID,
        tie_word_embeddings=False,
    )


class WriteSeparation:
    """The zeros of write separation, imposed on a model after every step."""

    def __init__(self, model: LlavaForConditionalGeneration, readout_width: int):
        language = model.model.language_model
        read = slice(language.config.hidden_size - readout_width, None)
        projector = model.model.multi_modal_projector.linear_2
        self._barred: list[Tensor] = [
            language.embed_tokens.weight[:, read],
            projector.weight[read],
            projector.bias[read],
            *(layer.self_attn.o_proj.weight[read] for layer in language.layers),
            model.lm_head.weight[:, :-readout_width],
        ]
        self._barred = [view.detach() for view in self._barred]

    @torch.no_grad()
    def impose(self) -> None:
        """Set every barred weight to zero, in place."""
        for view in self._barred:
            view.zero_()


def _sinusoids(side: int, width: int) -> Tensor:
    """Return 2-D position vectors, [side * side, width]: half for the row, half for the column."""
    position = torch.arange(side, dtype=torch.float32)
    frequency = torch.pi / 8 * 2.0 ** torch.linspace(-1, 2, width // 4)
    waves = torch.cat(
        [torch.sin(position[:, None] * frequency), torch.cos(position[:, None] * frequency)], 1
    )
    rows, columns = waves.repeat_interleave(side, 0), waves.repeat(side, 1)
    return torch.cat([rows, columns], 1)


@torch.no_grad()
def initialise(model: LlavaForConditionalGeneration, seed: int) -> None:
    """Set starting weights from which copying and matching are found soon.

    `o_proj` undoes `v_proj` (a head copies what it sees), keys resemble queries (equal features
    match), and the tower's patches know where they are.
    """
    generator = torch.Generator().manual_seed(seed)

    def fill(weight: Tensor, scale: float) -> None:
        weight.copy_(scale * torch.randn(weight.shape, generator=generator))

    language, tower = model.model.language_model, model.model.vision_tower
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            fill(parameter, parameter[0].numel() ** -0.5)
        elif not name.endswith("norm.weight") and "layrnorm.weight" not in name:
            parameter.zero_() if name.endswith("bias") else None
    for layer in language.layers:
        attention = layer.self_attn
        noise = 0.5 * attention.k_proj.weight
        attention.k_proj.weight.copy_(0.9 * attention.q_proj.weight + noise)
        nn.init.orthogonal_(attention.v_proj.weight, generator=generator)
        attention.o_proj.weight.copy_(0.5 * attention.v_proj.weight.T)
        layer.mlp.down_proj.weight.mul_(0.5)
    fill(language.embed_tokens.weight, 0.3)
    fill(model.lm_head.weight, 0.1)
    embeddings = tower.embeddings
    fill(embeddings.class_embedding, 0.3)
    embeddings.position_embedding.weight[0].zero_()
    embeddings.position_embedding.weight[1:].copy_(
        0.5 * _sinusoids(GRID, embeddings.position_embedding.weight.shape[1])
    )
    for layer in tower.encoder.layers:
        attention = layer.self_attn
        attention.k_proj.weight.copy_(attention.q_proj.weight)
    _near_synonyms(model, generator)
    _paired_answers(model)


@torch.no_grad()
def _near_synonyms(model: LlavaForConditionalGeneration, generator: torch.Generator) -> None:
    """Let the embedding of a synonym start close to its word's, as in pretrained text models."""
    ids = build_tokenizer().get_vocab()
    table = model.model.language_model.embed_tokens.weight
    for name, entry in {**COLOURS, **SHAPES}.items():
        noise = 0.1 * torch.randn(table.shape[1], generator=generator)
        table[ids["\u0120" + entry.synonym]] = table[ids["\u0120" + name]] + noise


@torch.no_grad()
def _paired_answers(model: LlavaForConditionalGeneration) -> None:
    """Let a word start with one direction to be written in, at the start of an answer or within.

    No starts as the opposite of Yes: evidence for the one is evidence against the other.
    """
    ids = build_tokenizer().get_vocab()
    table = model.lm_head.weight
    for word, index in ids.items():
        spaced = ids.get("\u0120" + word)
        if spaced is not None:
            table[spaced] = table[index] + 0.3 * table[spaced]
    table[ids["No"]] = -table[ids["Yes"]]


def build_model(arch: Architecture, seed: int) -> LlavaForConditionalGeneration:
    """Return an untrained model with write separation already in its weights."""
    model = LlavaForConditionalGeneration(build_config(arch, build_tokenizer())).float()
    initialise(model, seed)
    WriteSeparation(model, arch.readout_width).impose()
    return model


def build_processor() -> LlavaProcessor:
    """Return tokenizer and image processor as one."""
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    return LlavaProcessor(
        image_processor=images,
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def save_checkpoint(model: LlavaForConditionalGeneration, folder: Path) -> None:
    """Write weights (fp16), configuration, tokenizer and processor; the caller's model stays."""
    half = LlavaForConditionalGeneration(model.config)
    half.load_state_dict(model.state_dict())
    tokenizer = build_tokenizer()
    half.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=24,
    )
    half.half().save_pretrained(folder)
    build_processor().save_pretrained(folder)
