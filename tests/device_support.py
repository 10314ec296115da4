"""Several devices on a machine that has one: every tensor is told where it pretends to lie.

Real mistakes show on real GPUs only, where two tensors on different devices cannot meet. Here each
tensor carries a label, operations hand it on, and one that mixes two labels is refused as CUDA
refuses it. All is computed on the CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate.hooks import AlignDevicesHook, SequentialHook
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from hones_core.models.adapter import Adapter

CPU = torch.device("cpu")
_LABEL = "_pretended_device"
_GETTERS = {Tensor.device.__get__: "device", Tensor.is_cuda.__get__: "is_cuda"}
_MOVES = {Tensor.to, Tensor.cpu, Tensor.cuda}
_OF_FIRST = {Tensor.copy_, Tensor.__deepcopy__}  # stay with their first tensor, see what they may
_INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
_QUIET = {  # say something about a tensor, or about the whole program, and compute nothing with it
    Tensor.__repr__,
    Tensor.__hash__,
    Tensor.register_hook,
}


class MixedDevicesError(RuntimeError):
    """Tensors on different devices met in one operation."""


def label_of(tensor: Tensor) -> torch.device:
    """Where a tensor pretends to lie."""
    return getattr(tensor, _LABEL, CPU)


def put_label(found: object, device: torch.device) -> object:
    """Label all tensors in a result; returns the result."""
    for tensor in _tensors(found):
        setattr(tensor, _LABEL, device)
    return found


class PretendedDevices(TorchFunctionMode):
    """Hands the labels on, and counts the moves from one device to another."""

    def __init__(self):
        super().__init__()
        self.moves = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func in _GETTERS:
            label = label_of(args[0])
            return label if _GETTERS[func] == "device" else label.type == "cuda"
        if func in _QUIET:
            return func(*args, **kwargs)
        if func in _MOVES:
            return self._moved(func, args, kwargs)
        if func is Tensor.grad.__get__:
            found = func(*args, **kwargs)
            return found if found is None else put_label(found, label_of(args[0]))
        if func is torch.autograd.grad:
            gradients = func(*args, **kwargs)
            for gradient, of in zip(gradients, _tensors(args[1]), strict=True):
                put_label(gradient, label_of(of))
            return gradients
        wanted, args, kwargs = _without_device(args, kwargs)
        label = label_of(args[0]) if func in _OF_FIRST else _common(func, args, kwargs)
        return put_label(func(*args, **kwargs), label if wanted is None else wanted)

    def _moved(self, func, args: tuple, kwargs: dict) -> object:
        source = args[0]
        wanted = CPU if func is Tensor.cpu else None
        rest = []
        for value in args[1:]:
            if isinstance(value, Tensor):
                wanted, value = label_of(value), value.dtype
            elif isinstance(value, torch.device | str):
                wanted, value = torch.device(value), CPU
            rest.append(value)
        if isinstance(kwargs.get("device"), torch.device | str):
            wanted, kwargs["device"] = torch.device(kwargs["device"]), CPU
        label = label_of(source)
        wanted = label if wanted is None else wanted
        if wanted != label:
            self.moves += 1
            kwargs["copy"] = True
            return put_label(source.to(*rest, **kwargs) if rest or kwargs else source, wanted)
        return put_label(source.to(*rest, **kwargs), label)


def pretend(adapter: Adapter, places: dict[str, int]) -> None:
    """Label a model's weights, and let accelerate's hooks move to the labels.

    places: the number of the pretended GPU of each module, as in accelerate's device map. The model
    has been dispatched with hooks already.
    """
    for name, module in adapter.model.named_modules():
        place = _place(name, places)
        if place is None:
            continue
        device = torch.device("cuda", place)
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            setattr(tensor, _LABEL, device)
        for hook in _hooks(module):
            hook.execution_device = device
    for hook in _hooks(adapter.model):
        hook.execution_device = torch.device("cuda", 0)


@contextmanager
def pretended_devices() -> Iterator[PretendedDevices]:
    """Everything inside runs under pretended devices."""
    with PretendedDevices() as mode:
        yield mode


def _place(name: str, places: dict[str, int]) -> int | None:
    found = [one for one in places if name == one or name.startswith(f"{one}.")]
    return places[max(found, key=len)] if found else None


def _hooks(module: nn.Module) -> list[AlignDevicesHook]:
    hook = getattr(module, "_hf_hook", None)
    hooks = hook.hooks if isinstance(hook, SequentialHook) else [hook]
    return [one for one in hooks if isinstance(one, AlignDevicesHook)]


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
    elif isinstance(values, dict):
        yield from _tensors(list(values.values()))


def _without_device(args: tuple, kwargs: dict) -> tuple[torch.device | None, tuple, dict]:
    """The device that is asked for, and the arguments as the CPU takes them."""
    wanted = kwargs.get("device")
    if wanted is None:
        return None, args, kwargs
    return torch.device(wanted), args, kwargs | {"device": CPU}


def _common(func, args: tuple, kwargs: dict) -> torch.device:
    """The one device of all tensors that meet; single numbers and indices may lie on the CPU."""
    found: dict[torch.device, tuple] = {}
    given = list(_tensors([args, kwargs]))
    for place, tensor in enumerate(given):
        label = label_of(tensor)
        number = label == CPU and tensor.ndim == 0
        index = label == CPU and func in _INDEXING and place == 1
        if not (number or index):
            found.setdefault(label, tuple(tensor.shape))
    if len(found) > 1:
        name = getattr(func, "__name__", func)
        raise MixedDevicesError(f"{name} of tensors on {found}")
    return next(iter(found), CPU)
