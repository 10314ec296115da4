"""What the analysis must know of an architecture: its layers, heads, neurons and prompt format.

A further family is one subclass of `Adapter` and two lines; CONTRIBUTING.md says which.
"""

from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import Cache, GenerationConfig

# What every decoder layer consists of.
LAYER_PARTS = (
    "input_layernorm",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "post_attention_layernorm",
    "mlp.down_proj",
)


class ModelError(Exception):
    """A model whose files or layers are not what the workflow relies on."""


@dataclass(frozen=True)
class Batch:
    """Left-padded prompts with the image features already merged in.

    embeddings [B, T, d], attention_mask [B, T] (1 for real tokens), input_ids [B, T], positions
    [A, B, T] of the rotary embedding, whose A axes are one, or three where images have a plane of
    their own. Where the batch continues P cached positions, its attention_mask is [B, P + T].
    """

    embeddings: Tensor
    attention_mask: Tensor
    input_ids: Tensor
    positions: Tensor


def counted_positions(attention_mask: Tensor) -> Tensor:
    """Positions [1, B, T] counted over the real tokens of a mask [B, T]; 0 before them."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)[None]


def following_positions(positions: Tensor, n: int) -> Tensor:
    """Positions [A, B, n] of text behind `positions` [A, B, T]: on from the largest of all axes."""
    first = positions.amax(dim=(0, 2)) + 1
    steps = torch.arange(n, device=positions.device)
    return (first[:, None] + steps).expand(len(positions), -1, -1)


class Adapter:
    """One loaded model with uniform access to what HONES intervenes on.

    Attributes: n_layers, n_heads (query heads per layer), head_dim, n_neurons (per layer),
    layers (decoder layers), unembedding (U, [V, d]), stop_ids (tokens that end an answer), device
    (where inputs go: that of the embeddings), dtype.

    The layers of a split model lie on several devices. Each layer's tensors stay on its own; what
    goes from one layer to the next is moved along, and final states to the unembedding's.

    `answer_positions` is set while `hidden_states` runs, for interventions at the positions that
    give the answer: a mask [B, T] of the prompt's last token and what follows it, or None where
    these are the last column, as in the prefill of left-padded prompts and in every decode step.
    """

    model: Any  # of Hugging Face: which modules it has, only its class knows
    layers: Any
    family: str
    position_axes = 1  # planes of positions: text, or time, height and width
    separator: str  # between the prompt and the answer

    def __init__(
        self, model: Any, tokenizer: Any, image_processor: Any, revision: str | None = None
    ) -> None:
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.tokenizer.padding_side = "left"
        self.image_processor = image_processor
        self.revision = revision
        self.stop_ids = self._take_stop_ids()
        self.answer_positions: Tensor | None = None
        self._converted: Tensor | None = None
        text = model.config.get_text_config()
        self.layers = self.language_model.layers
        self._check_modules()
        self.n_layers = len(self.layers)
        self.head_dim = (
            getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        )
        self.n_heads = self.layers[0].self_attn.o_proj.in_features // self.head_dim
        self.n_neurons = self.layers[0].mlp.down_proj.in_features
        self._check_layers(text)

    @property
    def language_model(self) -> Any:
        """The decoder: embeddings, layers and final norm."""
        return self.model.model.language_model

    @property
    def unembedding(self) -> Tensor:
        """U, [vocabulary, d]."""
        return self.model.lm_head.weight

    @property
    def image_token(self) -> int:
        """Id of the token that stands for the image in a prompt."""
        return self.model.config.image_token_id

    @property
    def device(self) -> torch.device:
        return self.model.get_input_embeddings().weight.device

    def layer_device(self, index: int) -> torch.device:
        """Where a layer's weights lie, and with them all that it reads and gives."""
        return self.layers[index].self_attn.o_proj.weight.device

    @property
    def devices(self) -> list[torch.device]:
        """All devices of layers, embeddings and unembedding, each once, in the order of use."""
        layers = [self.layer_device(index) for index in range(self.n_layers)]
        return list(dict.fromkeys([self.device, *layers, self.unembedding.device]))

    @property
    def dtype(self) -> torch.dtype:
        return self.unembedding.dtype

    def prompt(self, instruction: str) -> str:
        """The full prompt text of an instruction, with the image's placeholder."""
        raise NotImplementedError

    def inputs(self, images: list[Image.Image], texts: list[str]) -> dict[str, Tensor]:
        """What the model's own `forward` and `generate` take for prompts with one image each.

        input_ids and attention_mask [B, T], padded on the left, the images' placeholders repeated
        for each of their features, and the family's pixels. Raises ModelError if a prompt does not
        hold its image's placeholder exactly once.
        """
        raise NotImplementedError

    def image_features(self, inputs: dict[str, Tensor]) -> Tensor:
        """The vision tower's features of all images, one after the other, [features, d]."""
        raise NotImplementedError

    def positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """Positions [A, B, T] of the rotary embedding."""
        return counted_positions(inputs["attention_mask"])

    def encode(self, images: list[Image.Image], texts: list[str]) -> Batch:
        """`inputs`, with the images' features merged into the embeddings.

        Raises ModelError as `inputs` does.
        """
        inputs = self.inputs(images, texts)
        embeddings = self.embed(inputs["input_ids"])
        is_image = inputs["input_ids"] == self.image_token
        features = self.image_features(inputs).to(embeddings)  # its type and device
        if int(is_image.sum()) != len(features):
            raise ModelError(
                f"{int(is_image.sum())} image tokens for {len(features)} image features: the "
                "prompts must hold exactly one image each"
            )
        return Batch(
            embeddings.masked_scatter(is_image[..., None], features),
            inputs["attention_mask"],
            inputs["input_ids"],
            self.positions(inputs),
        )

    def answer_ids(self, prompt: str, answer: str) -> list[int]:
        """Token ids of `answer` in the context of `prompt` (METHOD 3), without end of sequence.

        Raises ModelError if the answer has no tokens of its own.
        """
        prompt_ids = self.tokenizer(prompt)["input_ids"]
        full_ids = self.tokenizer(prompt + self.separator + answer)["input_ids"]
        if full_ids[: len(prompt_ids)] != prompt_ids:
            raise ModelError(
                f"the tokenizer merges the end of the prompt with the answer {answer!r}, which so "
                "has no tokens of its own"
            )
        if len(full_ids) == len(prompt_ids):
            raise ModelError(f"the answer {answer!r} has no tokens after the prompt")
        return full_ids[len(prompt_ids) :]

    def embed(self, token_ids: Tensor) -> Tensor:
        """Input embeddings [..., d] of token ids."""
        return self.model.get_input_embeddings()(token_ids)

    def rotary(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine [B, T, head_dim] of the rotary embedding at positions [A, B, T].

        Of the type and on the device of `like`.
        """
        cos, sin = self.language_model.rotary_emb(like, position_ids=positions.squeeze(0))
        return cos.to(like.device), sin.to(like.device)  # a split model's rotary may lie elsewhere

    def keys_values(
        self, layer: int, hidden: Tensor, cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Keys and values [B, key-value heads, T, head_dim] that a layer makes of [B, T, d].

        hidden, cos and sin lie on the layer's device.
        """
        block = self.layers[layer]
        normed = block.input_layernorm(hidden)
        split = (*hidden.shape[:-1], -1, self.head_dim)
        keys = block.self_attn.k_proj(normed).view(split)
        if hasattr(block.self_attn, "k_norm"):  # of each head, as in Qwen3
            keys = block.self_attn.k_norm(keys)
        keys = keys.transpose(1, 2)
        values = block.self_attn.v_proj(normed).view(split).transpose(1, 2)
        cos, sin = cos[:, None], sin[:, None]
        low, high = keys.chunk(2, dim=-1)
        return keys * cos + torch.cat([-high, low], dim=-1) * sin, values

    def hidden_states(
        self, batch: Batch, answer_positions: Tensor | None = None, cache: Cache | None = None
    ) -> Tensor:
        """The decoder's last hidden states [B, T, d], after its final norm.

        A `cache` is continued and extended in place; give `DynamicCache()` to start one. For
        `answer_positions` see the class.
        """
        self.answer_positions = answer_positions
        try:
            return self.language_model(
                inputs_embeds=batch.embeddings,
                attention_mask=batch.attention_mask,
                position_ids=batch.positions.squeeze(0),
                past_key_values=cache,
                use_cache=cache is not None,
            ).last_hidden_state
        finally:
            self.answer_positions = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Vocabulary logits [..., V] in float32, whatever the model's type, on U's device.

        Raises FloatingPointError if one of them is NaN or infinite.
        """
        unembedding = self._unembedding_float32()
        logits = hidden.to(unembedding.device).float() @ unembedding.T
        self.require_finite(logits)
        return logits

    def require_finite(self, logits: Tensor) -> None:
        """Raise FloatingPointError if a logit is NaN or infinite."""
        if not torch.isfinite(logits).all():
            what = "NaN" if torch.isnan(logits).any() else "infinite"
            raise FloatingPointError(
                f"{self.family}: some logits are {what} in {self.dtype}; use float32 or bfloat16 "
                "as the model's dtype in the config, or smaller scales if the model is steered"
            )

    def _unembedding_float32(self) -> Tensor:
        """U in float32, converted once for a model in half precision."""
        if self.dtype == torch.float32:
            return self.unembedding
        if self._converted is None:
            with torch.inference_mode(False):  # training may need it after inference
                self._converted = self.unembedding.float()
        return self._converted

    def _take_stop_ids(self) -> list[int]:
        """The end-of-sequence ids, all that is kept of the checkpoint's own generation config.

        `generate` would fill whatever its caller leaves open from that config: penalties, bans.
        """
        stop = self.model.generation_config.eos_token_id
        if stop is None:
            stop = self.tokenizer.eos_token_id
        self.model.generation_config = GenerationConfig()
        return [stop] if isinstance(stop, int) else list(stop)

    def _check_modules(self) -> None:
        """Refuse layers without the parts that are read or changed, or with others beside them."""
        for index, layer in enumerate(self.layers):
            for name in LAYER_PARTS:
                try:
                    layer.get_submodule(name)
                except AttributeError:
                    raise ModelError(
                        f"layer {index} has no {name}, which the analysis reads; a layer of mixed "
                        "experts or with joined projections needs an adapter of its own"
                    ) from None
            known = {name.partition(".")[0] for name in LAYER_PARTS}
            others = [name for name, _ in layer.named_children() if name not in known]
            if others:
                raise ModelError(
                    f"layer {index} also has {', '.join(others)}, which the analysis does not know"
                )

    def _check_layers(self, text: Any) -> None:
        """Refuse a model whose layers are not what the interventions assume."""
        for index, layer in enumerate(self.layers):
            o_proj, down_proj = layer.self_attn.o_proj, layer.mlp.down_proj
            if o_proj.in_features != self.n_heads * self.head_dim:
                raise ModelError(
                    f"layer {index}: o_proj reads {o_proj.in_features} values, which is not "
                    f"{self.n_heads} heads x {self.head_dim}"
                )
            if (
                down_proj.in_features != self.n_neurons
                or down_proj.out_features != text.hidden_size
            ):
                raise ModelError(f"layer {index}: down_proj has an unexpected shape")
        if self.n_heads != text.num_attention_heads:
            raise ModelError(
                f"o_proj holds {self.n_heads} heads, the config says {text.num_attention_heads}"
            )
        if self.model.lm_head.bias is not None:
            raise ModelError("the unembedding has a bias, which the write-in contribution ignores")
