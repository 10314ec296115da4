"""All interventions: pure tensor functions, and the hooks that apply them.

An intervention acts on one of two places of a decoder layer: the input of `o_proj` (the heads'
outputs, [B, T, H * d_h]) or the input of `down_proj` (the neurons' activations z, [B, T, m]). A new
one is a class whose `changes` says what it does there; the plain path and the fast engine both work
from that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from hones_core.benchmark.seeding import seeded_key
from hones_core.models.adapter import Adapter

HEADS, NEURONS = "heads", "neurons"  # the inputs of o_proj and of down_proj
POSITIONS = ("all", "last")
SOURCES = ("z", "gate")


def mean_replace_head(heads: Tensor, head: int, n_heads: int) -> Tensor:
    """Replace one head's output by the mean of the layer's other heads (paper 4.1, METHOD 4).

    heads: [..., H * d_h]; returns a new tensor of the same shape with
    o_h <- (sum_k o_k - o_h) / (H - 1), computed in float32. Raises ValueError for a layer with a
    single head, which has no others.
    """
    return mean_replace_heads(heads, [head], n_heads)


def mean_replace_heads(heads: Tensor, replaced: Sequence[int], n_heads: int) -> Tensor:
    """`mean_replace_head` of several heads of a layer at once, each by the mean of the original
    outputs of all others."""
    if n_heads < 2:
        raise ValueError("a layer with one head has no other heads whose mean could replace it")
    split = heads.unflatten(-1, (n_heads, -1))
    result, total = split.clone(), split.float().sum(-2)
    for head in replaced:
        others = (total - split[..., head, :].float()) / (n_heads - 1)
        result[..., head, :] = others.to(split.dtype)
    return result.flatten(-2)


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
class Change:
    """What an intervention does at one place: `function` (values, answering) -> values.

    values [B, T, w], on the layer's device; answering [B, T] is True at the positions that give the
    answer, or None where these are the last column. The function returns a new tensor, row by row
    independent of the other rows, that differs in `columns` of w only (None: perhaps in all). With
    `whole` it needs all positions of its rows at once.
    """

    layer: int
    place: str
    function: Callable[[Tensor, Tensor | None], Tensor]
    columns: slice | None = None
    whole: bool = False

    def __post_init__(self) -> None:
        if self.layer < 0:  # an index from the end would be replayed from the wrong layer
            raise ValueError(f"there is no layer {self.layer}; layers are counted from 0")

    def module(self, adapter: Adapter) -> torch.nn.Module:
        """The module whose input changes."""
        layer = adapter.layers[self.layer]
        return layer.self_attn.o_proj if self.place == HEADS else layer.mlp.down_proj


class Intervention(Protocol):
    """Anything that says what it changes in a model."""

    def changes(self, adapter: Adapter) -> Iterator[Change]: ...


def at_positions(
    changed: Tensor, values: Tensor, positions: str, answering: Tensor | None
) -> Tensor:
    """`changed` [B, T, w] at the chosen positions, `values` elsewhere; see `Change.function`."""
    if positions == "all":
        return changed
    if answering is None:
        return torch.cat([values[:, :-1], changed[:, -1:]], dim=1)
    return torch.where(answering[..., None], changed, values)


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
        if self.head < 0:
            raise ValueError(f"there is no head {self.head}; heads are counted from 0")

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        """The head's slice of the heads' outputs."""

        def change(heads: Tensor, answering: Tensor | None) -> Tensor:
            replaced = mean_replace_head(heads, self.head, adapter.n_heads)
            return at_positions(replaced, heads, self.positions, answering)

        width = adapter.head_dim
        columns = slice(self.head * width, (self.head + 1) * width)
        yield Change(self.layer, HEADS, change, columns)


@dataclass(frozen=True)
class MeanReplaceHeads:
    """Several heads, (layer, head), mean-replaced together (METHOD 4, head budget)."""

    heads: tuple[tuple[int, int], ...]
    positions: str = "all"

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        """One change for each layer that has some of the heads."""
        by_layer: dict[int, list[int]] = {}
        for layer, head in self.heads:
            by_layer.setdefault(layer, []).append(head)
        for layer, heads in sorted(by_layer.items()):

            def change(
                values: Tensor, answering: Tensor | None, heads: list[int] = heads
            ) -> Tensor:
                replaced = mean_replace_heads(values, heads, adapter.n_heads)
                return at_positions(replaced, values, self.positions, answering)

            yield Change(layer, HEADS, change)


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

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        """The head's slice of the heads' outputs, of whole prompts."""
        mask = self.mask.to(adapter.layer_device(self.layer))
        seeds = [
            seeded_key(self.seed, "head noise", sample, self.layer, self.head)
            for sample in self.samples
        ]

        def change(heads: Tensor, answering: Tensor | None) -> Tensor:
            noisy = noisy_head(heads, self.head, adapter.n_heads, mask, seeds)
            return at_positions(noisy, heads, self.positions, answering)

        width = adapter.head_dim
        columns = slice(self.head * width, (self.head + 1) * width)
        yield Change(self.layer, HEADS, change, columns, whole=True)


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

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        """The neurons of each layer."""
        for layer, index in self.neurons.items():
            index = index.to(adapter.layer_device(layer))

            def change(z: Tensor, answering: Tensor | None, index: Tensor = index) -> Tensor:
                return zero_neurons(z, index)

            yield Change(layer, NEURONS, change)


@dataclass(frozen=True)
class ScaleNeurons:
    """Neurons, by layer, multiplied by 1 + their scale: {layer: (neurons [k], scales [k])}."""

    bank: Mapping[int, tuple[Tensor, Tensor]]

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        """The bank's neurons of each layer."""
        for layer, (index, scales) in self.bank.items():
            device = adapter.layer_device(layer)
            own = index.to(device), scales.to(device)

            def change(
                z: Tensor, answering: Tensor | None, own: tuple[Tensor, Tensor] = own
            ) -> Tensor:
                return scale_neurons(z, *own)

            yield Change(layer, NEURONS, change)


def applied(adapter: Adapter, *interventions: Intervention) -> AbstractContextManager[None]:
    """The model with all the interventions in force on every row.

    A context manager; whatever happens, they are taken off again at its end.
    """
    changes = [change for one in interventions for change in one.changes(adapter)]
    return applied_by_rows(adapter, [(changes, 1)])


@contextmanager
def applied_by_rows(
    adapter: Adapter, groups: Sequence[tuple[Sequence[Change], int]]
) -> Iterator[None]:
    """The model with each group's changes in force on its own share of a batch's rows.

    The shares of all groups together are the batch: with shares 2 and 1, the first group has the
    first two thirds of the rows. The hooks are removed at the end, whatever happens.
    """
    by_module: dict[torch.nn.Module, list[tuple[int, int, Callable]]] = {}
    start = 0
    for changes, share in groups:
        for change in changes:
            place = (start, start + share, change.function)
            by_module.setdefault(change.module(adapter), []).append(place)
        start += share
    with ExitStack() as stack:
        for module, places in by_module.items():
            hook = _row_hook(adapter, places, start)
            stack.callback(module.register_forward_pre_hook(hook).remove)
        yield


def _row_hook(
    adapter: Adapter, places: Sequence[tuple[int, int, Callable]], total: int
) -> Callable[[torch.nn.Module, tuple], tuple]:
    """A hook that changes rows start/total to stop/total of a module's input, place by place."""

    def hook(_module: torch.nn.Module, args: tuple) -> tuple:
        values, answering = args[0], adapter.answer_positions
        if answering is not None:  # where inputs go, if the stock model runs all layers
            answering = answering.to(values.device)
        unit, rest = divmod(len(values), total)
        if rest:
            raise ValueError(f"{len(values)} rows cannot be shared among {total}")
        for start, stop, function in places:
            if (start, stop) == (0, total):
                values = function(values, answering)
                continue
            rows = slice(start * unit, stop * unit)
            own = None if answering is None else answering[rows]
            changed = values.clone() if values is args[0] else values
            changed[rows] = function(values[rows], own)
            values = changed
        return (values, *args[1:])

    return hook


@contextmanager
def recorded_activations(
    adapter: Adapter, reduce: Callable[[Tensor], Tensor], source: str = "z"
) -> Iterator[list[Tensor]]:
    """Record `reduce(activations [B, T, m])` of every layer during a forward pass.

    source 'z' is the input of `down_proj`, act(gate(x)) * up(x) as interventions leave it, whether
    they are applied before or after this begins; 'gate' is act(gate(x)) alone.
    The list has one entry per layer, all where inputs go; a view of the activations in it keeps
    them all in memory (see `at_last_position`). Raises ValueError for another source.
    """
    if source not in SOURCES:
        raise ValueError(f"unknown activation {source!r}; known: {SOURCES}")
    records: list[Any] = [None] * adapter.n_layers  # None until the layer has run

    def record(index: int, activations: Tensor) -> None:
        records[index] = reduce(activations).to(adapter.device)

    with ExitStack() as stack:
        for index, layer in enumerate(adapter.layers):
            if source == "z":  # behind the call, when all hooks on its input have been applied
                handle = layer.mlp.down_proj.register_forward_hook(
                    lambda _module, args, _output, index=index: record(index, args[0])
                )
            else:
                handle = layer.mlp.act_fn.register_forward_hook(
                    lambda _module, _args, output, index=index: record(index, output)
                )
            stack.callback(handle.remove)
        yield records


def at_last_position(activations: Tensor) -> Tensor:
    """A copy in float32 of [B, T, m] at the last position, [B, m], which lets go of the others."""
    return activations[:, -1].to(torch.float32, copy=True)
