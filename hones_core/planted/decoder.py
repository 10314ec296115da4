"""From the plan to the weights of a Llama-like decoder (RMS norms, RoPE, SwiGLU, no sharing of
key-value heads needed), whatever family it belongs to.

- **Norms.** The constant feature is so large (CONSTANT) that it alone decides the RMS norm; the
  norms' weights undo the division. A layer so reads every feature at its value, the constant as 1.
- **Positions.** With rotary base ROPE_BASE all but the first few rotations are slower than 1e-5
  per token; heads match in those only, so that distance plays no part.
- **Attention is nearly one-hot.** A match is worth SHARPNESS in the softmax's exponent.
- **No bias.** A decoder that has biases keeps them at zero.
"""

from typing import Any

import torch
from torch import Tensor, nn

from hones_core.planted.circuit import Head
from hones_core.planted.layout import (
    READABLE,
    WIDTH,
    Feature,
    dimension,
    mask,
    space,
    vector,
)
from hones_core.planted.plan import Planted
from hones_core.planted.world import (
    ANSWERS,
    CONTENTS,
    END,
    ROW_LENGTH,
    TASKS,
    WORDS,
    place_token,
)

CONSTANT = 1e6  # so large that even strong distractors do not change the norm
HEAD_DIM = 32
SHARPNESS = 24.0
ROPE_BASE = 1e20
SLOW = 4  # rotation pairs below this one turn with the position
END_LOGIT = 4.0  # of the end of the answer, everywhere; a word's is about 10
COMMON = 0.5  # share of the common direction in every row of the unembedding
SCRATCH = 0.3  # standard deviation of a token's own random features


@torch.no_grad()
def write_decoder(
    language_model: Any, lm_head: nn.Linear, token_ids: dict[str, int], planted: Planted
) -> None:
    """Set all weights of a decoder that has the plan's layers and neurons, and heads of HEAD_DIM.

    `token_ids`: the ids of the world's words and, as "end of vqa" and so on, of the prompts' ends.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in [*language_model.parameters(), lm_head.weight]:
        parameter.zero_()
    _write_embeddings(language_model.embed_tokens.weight, token_ids, generator)
    _write_unembedding(lm_head.weight, token_ids)
    scale = torch.full((WIDTH,), CONSTANT / WIDTH**0.5)
    scale[dimension(("constant", 0))] = WIDTH**-0.5
    language_model.norm.weight.copy_(scale)
    for layer, heads, column in zip(
        language_model.layers, planted.heads, planted.neurons, strict=True
    ):
        layer.input_layernorm.weight.copy_(scale)
        layer.post_attention_layernorm.weight.copy_(scale)
        for index, head in enumerate(heads):
            rows = slice(index * HEAD_DIM, (index + 1) * HEAD_DIM)
            if head is None:
                _write_background_head(layer.self_attn, rows, generator)
            else:
                _write_head(layer.self_attn, rows, head)
        layer.mlp.gate_proj.weight.copy_(torch.stack([neuron.gate for neuron in column]))
        layer.mlp.up_proj.weight.copy_(torch.stack([neuron.up for neuron in column]))
        layer.mlp.down_proj.weight.copy_(torch.stack([neuron.down for neuron in column], 1))


def token_features() -> dict[str, Feature]:
    """What a token says of itself, by its word or the name of the prompt's end."""
    features: dict[str, Feature] = {"<s>": ("start", 0)}
    features |= {place_token(k): ("asked", k) for k in range(ROW_LENGTH)}
    features |= {f"end of {task}": ("task", k) for k, task in enumerate(TASKS)}
    for task, name in (
        ("retrieval", "candidate"),
        ("ocr", "said_ocr"),
        ("caption", "said_caption"),
    ):
        features |= {WORDS[task][k]: (name, k) for k in range(CONTENTS)}
    return features


def _write_embeddings(table: Tensor, token_ids: dict[str, int], generator: torch.Generator) -> None:
    table[:, space("scratch")] = SCRATCH * torch.randn(
        table[:, space("scratch")].shape, generator=generator
    )
    table[:, dimension(("constant", 0))] = CONSTANT
    for word, feature in token_features().items():
        table[token_ids[word], dimension(feature)] = 1


def _write_unembedding(table: Tensor, token_ids: dict[str, int]) -> None:
    table[:, dimension(("common", 0))] = COMMON
    for index, word in enumerate(ANSWERS):
        table[token_ids[word], dimension(("answer", index))] = 1
    table[token_ids[END], dimension(("constant", 0))] = END_LOGIT


def _slow_coordinates() -> list[int]:
    """The coordinates of a head's query and key that hardly turn."""
    half = HEAD_DIM // 2
    return [*range(SLOW, half), *range(half + SLOW, HEAD_DIM)]


def _write_head(attention: Any, rows: slice, head: Head) -> None:
    gain = (SHARPNESS * HEAD_DIM**0.5) ** 0.5  # scores are divided by sqrt(HEAD_DIM)
    sink = ({("constant", 0): 1.0}, {("start", 0): head.sink})
    matches = [*head.matches, sink]
    query, key = attention.q_proj.weight[rows], attention.k_proj.weight[rows]
    value, output = attention.v_proj.weight[rows], attention.o_proj.weight[:, rows]
    coordinates = _slow_coordinates()
    if len(matches) > len(coordinates) or len(head.copies) > HEAD_DIM:
        raise ValueError(f"a head of layer {head.layer} has more to match or copy than it is wide")
    for coordinate, (asks, answers) in zip(coordinates, matches, strict=False):
        query[coordinate] = gain * vector(asks)
        key[coordinate] = gain * vector(answers)
    for coordinate, (source, target) in enumerate(head.copies):
        value[coordinate, dimension(source)] = 1
        output[dimension(target), coordinate] = 1


def _write_background_head(attention: Any, rows: slice, generator: torch.Generator) -> None:
    def draw(scale: float) -> Tensor:
        return scale * torch.randn(HEAD_DIM, WIDTH, generator=generator)

    read = mask([*READABLE, "constant"])
    attention.q_proj.weight[rows] = draw(0.5) * read
    attention.k_proj.weight[rows] = draw(0.5) * read
    attention.v_proj.weight[rows] = draw(0.1) * read
    attention.o_proj.weight[:, rows] = (draw(0.1) * mask(["scratch"])).T
