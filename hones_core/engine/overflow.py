"""Where numbers stop being finite: the sample, and the first layer of the unchanged model."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from hones_core.models.adapter import Adapter, Batch
from hones_core.tasks.instances import Instance


@contextmanager
def located(
    adapter: Adapter, instances: Sequence[Instance], encode: Callable[[Instance], Batch]
) -> Iterator[None]:
    """Name instances and layer in an error about numbers that are not finite.

    `encode` makes the batch of one instance, with which the unchanged model is looked through.
    """
    try:
        yield
    except FloatingPointError as error:
        names = ", ".join(instance.instance_id for instance in instances)
        where = _first_place(adapter, instances, encode)
        raise FloatingPointError(f"{error} (in the batch of {names}; {where})") from error


def first_overflow(adapter: Adapter, batch: Batch) -> list[int | None]:
    """The first layer behind which each row's residual stream is not finite; None: nowhere.

    -1 are the embeddings. Padding does not count.
    """
    real = batch.attention_mask.bool()
    found: list[int | None] = [None] * len(real)

    def look(layer: int, states: Tensor) -> None:
        broken = (~torch.isfinite(states).all(-1) & real).any(-1)
        for row, is_broken in enumerate(broken.tolist()):
            if is_broken and found[row] is None:
                found[row] = layer

    def hook_of(index: int) -> Callable:
        return lambda _module, _inputs, output: look(index, output)

    look(-1, batch.embeddings)
    handles = [
        layer.register_forward_hook(hook_of(index)) for index, layer in enumerate(adapter.layers)
    ]
    try:
        with torch.inference_mode():
            adapter.hidden_states(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _first_place(
    adapter: Adapter, instances: Sequence[Instance], encode: Callable[[Instance], Batch]
) -> str:
    """The first instance that breaks by itself, and where; one is enough to go and look."""
    for instance in instances:
        with torch.inference_mode():
            (layer,) = first_overflow(adapter, encode(instance))
        if layer is not None:
            place = f"behind layer {layer}" if layer >= 0 else "in its embeddings"
            return f"{instance.instance_id} breaks {place}"
    return "no unchanged layer breaks: it comes with the intervention, or in the unembedding"
