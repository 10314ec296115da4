"""The tiny models: their shape, their starting weights, and the write separation.

Write separation: the last `readout_width` dimensions of the residual stream are the only ones that
the unembedding reads, and only feed-forward layers write them. Attention, the embeddings and the
projector are barred by plain zeros in their weights, so that attention routes and the FFNs answer.
Without it so small a world is solved by attention alone, and no neuron matters.

What differs between the families is in their modules: `llava`, `qwen2_5_vl`.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerFast

from hones_core.toy import llava, qwen2_5_vl
from hones_core.toy.architecture import Architecture
from hones_core.toy.prompts import build_tokenizer
from hones_core.toy.vocabulary import COLOURS, SHAPES, Colour, Shape

FAMILIES: dict[str, ModuleType] = {"llava": llava, "qwen2_5_vl": qwen2_5_vl}


def text_config(arch: Architecture, tokenizer: PreTrainedTokenizerFast) -> dict:
    """What both families' language models have in common."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": arch.width,
        "intermediate_size": arch.neurons,
        "num_hidden_layers": arch.layers,
        "num_attention_heads": arch.heads,
        "num_key_value_heads": arch.kv_heads,
        "max_position_embeddings": 256,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


class WriteSeparation:
    """The zeros of write separation, imposed on a model after every step."""

    def __init__(self, model: PreTrainedModel, family: str, readout_width: int):
        language = model.model.language_model
        read = slice(language.config.hidden_size - readout_width, None)
        projector = FAMILIES[family].last_projection(model)
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


@torch.no_grad()
def initialise(model: PreTrainedModel, family: str, seed: int) -> None:
    """Set starting weights from which copying and matching are found soon.

    `o_proj` undoes `v_proj` (a head copies what it sees), keys resemble queries (equal features
    match), and the tower starts as its family's module says.
    """
    generator = torch.Generator().manual_seed(seed)

    def fill(weight: Tensor, scale: float) -> None:
        weight.copy_(scale * torch.randn(weight.shape, generator=generator))

    language = model.model.language_model
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2:
            fill(parameter, parameter[0].numel() ** -0.5)
        elif name.endswith("bias"):
            parameter.zero_()
    for layer in language.layers:
        _start_attention(layer.self_attn, generator)
        layer.mlp.down_proj.weight.mul_(0.5)
    fill(language.embed_tokens.weight, 0.3)
    fill(model.lm_head.weight, 0.1)
    FAMILIES[family].start_tower(model, fill)
    ids = build_tokenizer(family).get_vocab()
    _near_synonyms(model, ids, generator)
    _paired_answers(model, ids)


def _start_attention(attention: Any, generator: torch.Generator) -> None:
    """Keys like queries, and an output that undoes the values; in groups the heads are alike."""
    size, groups = attention.head_dim, attention.num_key_value_groups
    queries = attention.q_proj.weight.unflatten(0, (-1, groups, size))
    if groups > 1:
        queries[:, 1:] = 0.7 * queries[:, :1] + 0.7 * queries[:, 1:]
    noise = 0.5 * attention.k_proj.weight
    attention.k_proj.weight.copy_(0.9 * queries[:, 0].flatten(0, 1) + noise)
    nn.init.orthogonal_(attention.v_proj.weight, generator=generator)
    values = attention.v_proj.weight.unflatten(0, (-1, size))
    values = values.repeat_interleave(groups, 0).flatten(0, 1)
    attention.o_proj.weight.copy_(0.5 * values.T)


def _near_synonyms(model: PreTrainedModel, ids: dict[str, int], generator: torch.Generator) -> None:
    """Let the embedding of a synonym start close to its word's, as in pretrained text models."""
    table = model.model.language_model.embed_tokens.weight
    words: dict[str, Colour | Shape] = {**COLOURS, **SHAPES}
    for name, entry in words.items():
        noise = 0.1 * torch.randn(table.shape[1], generator=generator)
        table[ids["\u0120" + entry.synonym]] = table[ids["\u0120" + name]] + noise


def _paired_answers(model: PreTrainedModel, ids: dict[str, int]) -> None:
    """Let a word start with one direction to be written in, at the start of an answer or within.

    No starts as the opposite of Yes: evidence for the one is evidence against the other.
    """
    table = model.lm_head.weight
    for word, index in ids.items():
        spaced = ids.get("\u0120" + word)
        if spaced is not None:
            table[spaced] = table[index] + 0.3 * table[spaced]
    table[ids["No"]] = -table[ids["Yes"]]


def build_model(family: str, arch: Architecture, seed: int) -> PreTrainedModel:
    """Return an untrained model with write separation already in its weights."""
    tokenizer = build_tokenizer(family)
    module = FAMILIES[family]
    model = module.MODEL(module.build_config(arch, text_config(arch, tokenizer), tokenizer)).float()
    initialise(model, family, seed)
    WriteSeparation(model, family, arch.readout_width).impose()
    return model


def save_checkpoint(model: PreTrainedModel, family: str, folder: Path) -> None:
    """Write weights (fp16), configuration, tokenizer and processor; the caller's model stays."""
    half = type(model)(model.config)
    half.load_state_dict(model.state_dict())
    tokenizer = build_tokenizer(family)
    half.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        do_sample=False,
        max_new_tokens=24,
    )
    half.half().save_pretrained(folder)
    FAMILIES[family].save_processor(folder)
