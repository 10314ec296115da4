"""All interventions: pure tensor functions, and the hooks that apply them.

An intervention acts on one of two places of a decoder layer: the input of `o_proj` (the heads'
outputs, [B, T, H * d_h]) or the input of `down_proj` (the neurons' activations z, [B, T, m]).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from hones_core.benchmark.seeding import seeded_key
from hones_core.models.adapter import Adapter

POSITIONS = ("all", "last")
SOURCES = ("z", "gate")


def mean_replace_head(heads: Tensor, head: int, n_heads: int) -> Tensor:
    """Replace one head's output by the mean of the layer's other heads (paper 4.1, METHOD 4).

    heads: [..., H * d_h]; returns a new tensor of the same shape with
    o_h <- (sum_k o_k - o_h) / (H - 1), computed in float32. Raises ValueError for a layer with a
    single head, which has no others.
    """
    if n_heads < 2:
        raise ValueError("a layer with one head has no other heads whose mean could replace it")
    split = heads.unflatten(-1, (n_heads, -1))
    replaced = split.clone()
    others = (split.float().sum(-2) - split[..., head, :].float()) / (n_heads - 1)
    replaced[..., head, :] = others.to(split.dtype)
    return replaced.flatten(-2)


def noisy_head(
    heads: Tensor, head: int, n_heads: int, mask: Tensor, seeds: Sequence[int]
) -> Tensor:
    """Add Gaussian noise to one head's output, with its own standard deviation (METHOD 6).

    heads: [B, T, H * d_h] of whole prompts; mask: [B, T], 1 for real tokens; seeds: one a sample.
    o_h <- o_h + s * n in float32, where s is the standard deviation of the sample's o_h over its
    real tokens and d_h components, and n is standard normal. Each sample draws from a generator of
    its own, on the CPU and for its real tokens only, so that neither the rest of the batch, nor
    its padding, nor the device plays a part. Raises ValueError if heads do not cover the prompts.
    """
    if heads.shape[:2] != mask.shape or len(seeds) != len(heads):
        raise ValueError(
            f"the noise of a head is drawn for whole prompts {tuple(mask.shape)}, but the heads' "
            f"outputs are {tuple(heads.shape[:2])}"
        )
    split = heads.unflatten(-1, (n_heads, -1))
    noisy = split.clone()
    for row, (real, seed) in enumerate(zip(mask.bool(), seeds, strict=True)):
        own = split[row, real, head].float()
        noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(seed))
        noisy[row, real, head] = (own + own.std(correction=0) * noise.to(own.device)).to(
            heads.dtype
        )
    return noisy.flatten(-2)


def zero_neurons(z: Tensor, neurons: Tensor) -> Tensor:
    """Set the given neurons of z [..., m] to zero (METHOD 7)."""
    return z.index_fill(-1, neurons, 0)


def scale_neurons(z: Tensor, neurons: Tensor, scales: Tensor) -> Tensor:
    """z_i <- (1 + s_i) z_i for the given neurons (paper 4.3), differentiable in `scales`.

    z: [..., m], neurons and scales: [k]. The product is float32, because 1 + s has few steps in
    half precision; the result has z's type.
    """
    factor = torch.ones(z.shape[-1], device=z.device).index_add(0, neurons, scales.float())
    return (z.float() * factor).to(z.dtype)


@dataclass(frozen=True)
class MeanReplaceHead:
    """One head mean-replaced (METHOD 4).

    `positions` is 'all', or 'last' for the positions that give the answer: the prompt's last token
    and, in every decode step, the token just generated. Teacher-forced targets and candidates
    behind a shared prefix are changed at the same tokens as plain generation would be.
    """

    layer: int
    head: int
    positions: str = "all"

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"unknown positions {self.positions!r}; known: {POSITIONS}")

    def changes(self, adapter: Adapter) -> Iterator[tuple[torch.nn.Module, Callable]]:
        """The modules whose input changes, each with the function that changes it."""

        def change(heads: Tensor) -> Tensor:
            replaced = mean_replace_head(heads, self.head, adapter.n_heads)
            if self.positions == "all":
                return replaced
            if adapter.answer_positions is None:
                return torch.cat([heads[:, :-1], replaced[:, -1:]], dim=1)
            return torch.where(adapter.answer_positions[..., None], replaced, heads)

        yield adapter.layers[self.layer].self_attn.o_proj, change


@dataclass(frozen=True)
class GaussianHead:
    """One head with noise of its own standard deviation added, for one batch of whole prompts.

    `mask` [B, T] marks the batch's real tokens, `samples` names its rows: a sample's noise depends
    on its name, the head and `seed` alone. `positions` 'all', or 'last' for the last token only.
    """

    layer: int
    head: int
    mask: Tensor
    samples: Sequence[str]
    seed: int = 0
    positions: str = "all"

    def __post_init__(self) -> None:
        if self.positions not in POSITIONS:
            raise ValueError(f"unknown positions {self.positions!r}; known: {POSITIONS}")

    def changes(self, adapter: Adapter) -> Iterator[tuple[torch.nn.Module, Callable]]:
        seeds = [
            seeded_key(self.seed, "head noise", sample, self.layer, self.head)
            for sample in self.samples
        ]

        def change(heads: Tensor) -> Tensor:
            noisy = noisy_head(heads, self.head, adapter.n_heads, self.mask, seeds)
            if self.positions == "last":
                return torch.cat([heads[:, :-1], noisy[:, -1:]], dim=1)
            return noisy

        yield adapter.layers[self.layer].self_attn.o_proj, change


@dataclass(frozen=True)
class ZeroNeurons:
    """Neurons, {layer: indices [k]}, set to zero at all positions."""

    neurons: Mapping[int, Tensor]

    @classmethod
    def of(cls, neurons: Iterable[tuple[int, int]]) -> "ZeroNeurons":
        """Silence a set of (layer, neuron)."""
        layers: dict[int, list[int]] = {}
        for layer, neuron in sorted(neurons):
            layers.setdefault(layer, []).append(neuron)
        return cls({layer: torch.tensor(indices) for layer, indices in layers.items()})

    def changes(self, adapter: Adapter) -> Iterator[tuple[torch.nn.Module, Callable]]:
        for layer, index in self.neurons.items():
            index = index.to(adapter.device)
            yield adapter.layers[layer].mlp.down_proj, lambda z, index=index: zero_neurons(z, index)


@dataclass(frozen=True)
class ScaleNeurons:
    """Neurons, by layer, multiplied by 1 + their scale: {layer: (neurons [k], scales [k])}."""

    bank: Mapping[int, tuple[Tensor, Tensor]]

    def changes(self, adapter: Adapter) -> Iterator[tuple[torch.nn.Module, Callable]]:
        for layer, (index, scales) in self.bank.items():
            yield (
                adapter.layers[layer].mlp.down_proj,
                lambda z, index=index, scales=scales: scale_neurons(z, index, scales),
            )


Intervention = MeanReplaceHead | GaussianHead | ZeroNeurons | ScaleNeurons


@contextmanager
def applied(adapter: Adapter, *interventions: Intervention) -> Iterator[None]:
    """The model with the interventions in force; they are taken off again whatever happens."""
    with ExitStack() as stack:
        for intervention in interventions:
            for module, change in intervention.changes(adapter):
                handle = module.register_forward_pre_hook(
                    lambda _module, args, change=change: (change(args[0]), *args[1:])
                )
                stack.callback(handle.remove)
        yield


@contextmanager
def recorded_activations(
    adapter: Adapter, reduce: Callable[[Tensor], Tensor], source: str = "z"
) -> Iterator[list[Tensor | None]]:
    """Record `reduce(activations [B, T, m])` of every layer during a forward pass.

    source 'z' is the input of `down_proj`, act(gate(x)) * up(x); 'gate' is act(gate(x)) alone.
    The list has one entry per layer. Raises ValueError for another source.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown activation {source!r}; known: {SOURCES}")
    records: list[Tensor | None] = [None] * adapter.n_layers

    def record(index: int, activations: Tensor) -> None:
        records[index] = reduce(activations)

    with ExitStack() as stack:
        for index, layer in enumerate(adapter.layers):
            if source == "z":
                handle = layer.mlp.down_proj.register_forward_pre_hook(
                    lambda _module, args, index=index: record(index, args[0])
                )
            else:
                handle = layer.mlp.act_fn.register_forward_hook(
                    lambda _module, _args, output, index=index: record(index, output)
                )
            stack.callback(handle.remove)
        yield records
