"""Is the device there, usable, and does this build of torch have code for it? Nothing is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from hones_core.engine.free_memory import free_bytes
from hones_core.findings import FAILED, OK, SKIPPED, WARNING, Finding

VOLTA = (7, 0)
BFLOAT16_FROM = (8, 0)  # earlier GPUs only emulate it
VOLTA_BUILD = (
    "Volta (V100) needs the cu126 build of torch 2.13 or 2.14: install "
    "envs/requirements-v100.txt; the default wheels have no code for it"
)
OTHER_BUILD = "Install a build of torch that names this GPU's architecture, or take another GPU"
NO_GPU = (
    "Start this on a machine with a GPU and a driver that torch can use (nvidia-smi shows both), "
    "with a CUDA build of torch; or set the model's device to cpu"
)


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of one device.

    name: empty if it is not there. capability: of a GPU, (major, minor); None for a CPU.
    arch_list: what torch was built for. free_bytes: of its memory. driver: what keeps torch from
    using the device, in words; empty if nothing does.
    """

    name: str
    capability: tuple[int, int] | None = None
    arch_list: tuple[str, ...] = ()
    free_bytes: int = 0
    driver: str = ""


def look(device: str) -> DeviceFacts:
    """The facts about the device that the configuration names: auto, cpu, cuda, cuda:N or split.

    Of 'split', which is all GPUs, the names, the least capability, and the free memory that a model
    of even shares can use: that of the fullest GPU times their number.
    Opens the GPU, as loading a model does, but starts no kernel. What goes wrong is told in
    `driver`, nothing is raised.
    """
    if device == "split":
        return _look_at_all()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        return DeviceFacts("", driver=f"torch knows no device {device!r} ({_first_line(error)})")
    if wanted.type == "cpu":
        built_for = tuple(torch.cuda.get_arch_list())
        return DeviceFacts("cpu", None, built_for, free_bytes(wanted))
    if wanted.type != "cuda":
        return DeviceFacts("", driver=f"{device!r} is neither cpu nor cuda")
    return _look_at_gpu(wanted)


def _look_at_all() -> DeviceFacts:
    first = _look_at_gpu(torch.device("cuda", 0))
    if first.driver:
        return first
    others = range(1, torch.cuda.device_count())
    found = [first, *(_look_at_gpu(torch.device("cuda", index)) for index in others)]
    return together(found)


def together(found: Sequence[DeviceFacts]) -> DeviceFacts:
    """The facts of several GPUs as one; those of the first that cannot be used, if there is one."""
    for facts in found:
        if facts.driver:
            return facts
    return DeviceFacts(
        " + ".join(facts.name for facts in found),
        min(facts.capability for facts in found if facts.capability),
        found[0].arch_list,
        len(found) * min(facts.free_bytes for facts in found),
    )


def _look_at_gpu(device: torch.device) -> DeviceFacts:
    if torch.version.cuda is None and torch.version.hip is None:
        return DeviceFacts("", driver=f"torch {torch.__version__} is built without CUDA")
    architectures = tuple(torch.cuda.get_arch_list())
    try:
        torch.cuda.init()
        count = torch.cuda.device_count()
        if (device.index or 0) >= count:
            problem = f"this machine shows {count} GPUs to torch, counted from cuda:0"
            return DeviceFacts("", arch_list=architectures, driver=problem)
        return DeviceFacts(
            torch.cuda.get_device_name(device),
            torch.cuda.get_device_capability(device),
            architectures,
            free_bytes(device),
        )
    except (RuntimeError, AssertionError, torch.cuda.DeferredCudaCallError) as error:
        return DeviceFacts("", arch_list=architectures, driver=_first_line(error))


def check_device(model: str, device: str, dtype: str, facts: DeviceFacts) -> list[Finding]:
    """Whether the device is there, has code in torch, and computes in `dtype`."""
    if facts.driver or not facts.name:
        detail = f"{device} cannot be used: {facts.driver or 'it is not there'}"
        return [Finding("device", model, FAILED, detail, NO_GPU)]
    detail = f"{device}: {facts.name}, {facts.free_bytes / 1e9:.1f} GB free"
    found = Finding("device", model, OK, detail)
    if device == "auto" and facts.capability is None and facts.arch_list:
        detail += "; torch is built for GPUs, but sees none that it can use"
        found = Finding("device", model, WARNING, detail, NO_GPU)
    return [found, _check_code(model, facts), _check_dtype(model, dtype, facts)]


def has_code(capability: tuple[int, int], arch_list: tuple[str, ...]) -> bool:
    """Whether a build for `arch_list` runs on the GPU.

    sm_XY holds code for X.Y and later GPUs of the same major version (sm_XYa for X.Y alone),
    compute_XY what the driver compiles for X.Y and anything later.
    """
    for name in arch_list:
        kind, _, number = name.partition("_")
        digits = number.rstrip("af")
        if not digits.isdigit():
            continue
        built = divmod(int(digits), 10)
        if number.endswith("a"):
            runs = built == capability
        else:
            runs = built <= capability and (kind == "compute" or built[0] == capability[0])
        if runs:
            return True
    return False


def _check_code(model: str, facts: DeviceFacts) -> Finding:
    if facts.capability is None:
        return Finding("torch build", model, OK, "a CPU needs no code of its own")
    known = [name for name in facts.arch_list if name.startswith(("sm_", "compute_"))]
    if not known:
        return Finding("torch build", model, SKIPPED, "torch does not say what it was built for")
    own = f"{facts.name} is sm_{facts.capability[0]}{facts.capability[1]}"
    if has_code(facts.capability, tuple(known)):
        return Finding("torch build", model, OK, f"{own}; built for {', '.join(known)}")
    detail = f"{own}, but torch is built for {', '.join(known)} only"
    remedy = VOLTA_BUILD if facts.capability == VOLTA else OTHER_BUILD
    return Finding("torch build", model, FAILED, detail, remedy)


def _check_dtype(model: str, dtype: str, facts: DeviceFacts) -> Finding:
    if dtype == "bfloat16" and facts.capability is not None and facts.capability < BFLOAT16_FROM:
        detail = f"bfloat16 is asked for, which {facts.name} does not have"
        return Finding("dtype", model, FAILED, detail, "Set the model's dtype to float16")
    return Finding("dtype", model, OK, dtype)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
