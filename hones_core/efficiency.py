"""What localization costs: forward work and seconds per instance (METHOD 12, the paper's Table 9).

The work, in token-layers, is the same in every run and goes to an artifact. Seconds are not, and go
to a CSV beside it.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import pandas as pd
import torch
from torch import Tensor, nn

from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.attribution.token_level.corruption import Corruption
from hones_core.attribution.token_level.group_patching import measure_group_patching
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.benchmark.seeding import seeded_order
from hones_core.engine.evaluate import Evaluator
from hones_core.heads import measure_head_effects
from hones_core.models.adapter import Adapter
from hones_core.tasks.instances import Instance

Localizers = Mapping[str, Callable[[Sequence[Instance]], object]]
DECIMALS = 6  # of the seconds


def localizers(
    evaluator: Evaluator,
    documents: Sequence[Instance],
    heads: Sequence[tuple[int, int]],
    positions: str,
    clip: str,
    idf_tokens: str,
    steps: int,
    groups_per_layer: int,
    corruption: Corruption,
) -> Localizers:
    """The localizations to compare, each a function of instances; all score every neuron.

    HONES is given apart from the search for its heads, which the paper's figure leaves out.
    """
    return {
        "head_localization": partial(measure_head_effects, evaluator, positions=positions),
        "hones": partial(
            measure_neuron_effects,
            evaluator,
            documents=documents,
            heads=heads,
            clip=clip,
            positions=positions,
            idf_tokens=idf_tokens,
        ),
        "qrnca": partial(measure_qrnca, evaluator, steps=steps),
        "group_patching": partial(
            measure_group_patching,
            evaluator,
            groups_per_layer=groups_per_layer,
            corruption=corruption,
        ),
    }


def plain_passes(adapter: Adapter, n_heads: int, steps: int, groups_per_layer: int) -> dict:
    """{method: forward passes over a whole prompt for one instance} without any sharing.

    One for the unchanged model (patching: two, with the corrupted run) and one for each head, point
    of an integral or group.
    """
    return {
        "head_localization": 1 + adapter.n_layers * adapter.n_heads,
        "hones": 1 + n_heads,
        "qrnca": 1 + adapter.n_layers * steps,
        "group_patching": 2 + adapter.n_layers * groups_per_layer,
    }


def measure_efficiency(
    evaluator: Evaluator,
    instances: Sequence[Instance],
    methods: Localizers,
    passes: Mapping[str, int],
    trials: int,
    samples: int,
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The TOKEN_LAYERS artifact, and seconds by method and trial.

    Each trial draws `samples` of the instances; every method runs on the same ones, after a first
    run that is not timed. Raises ValueError if there are fewer instances.
    """
    if samples > len(instances):
        raise ValueError(f"a trial needs {samples} examples, but there are {len(instances)}")
    adapter = evaluator.adapter
    for localize in methods.values():
        localize(instances[:2])  # first calls allocate; patching needs two images
    work, seconds = [], []
    for trial in range(trials):
        chosen = draw(instances, samples, seed, trial)
        whole_prompts = prompt_tokens(evaluator, chosen) * adapter.n_layers
        for name, localize in methods.items():
            with counted_token_layers(adapter) as count:
                start = clock(adapter)
                localize(chosen)
                elapsed = clock(adapter) - start
            work.append((name, trial, samples, count[0], passes[name] * whole_prompts))
            seconds.append((name, trial, samples, round(elapsed, DECIMALS), device_name(adapter)))
    names = ["method", "trial", "n_instances"]
    return (
        pd.DataFrame(work, columns=[*names, "token_layers", "plain_token_layers"]),
        pd.DataFrame(seconds, columns=[*names, "seconds", "device"]),
    )


def draw(instances: Sequence[Instance], samples: int, seed: int, trial: int) -> list[Instance]:
    """The examples of one trial, in the order of `instances`."""
    ids = [instance.instance_id for instance in instances]
    chosen = set(seeded_order(ids, seed, "efficiency", trial)[:samples])
    return [instance for instance in instances if instance.instance_id in chosen]


def prompt_tokens(evaluator: Evaluator, instances: Sequence[Instance]) -> int:
    """Tokens of the instances' prompts as they are batched, with the image's and with padding."""
    with torch.inference_mode():
        chunks = evaluator.prompt_chunks(instances)
        return sum(evaluator.encode(chunk).attention_mask.numel() for chunk in chunks)


@contextmanager
def counted_token_layers(adapter: Adapter) -> Iterator[list[int]]:
    """Count rows x tokens of every forward call of a decoder layer's FFN, padding included.

    Where the fast engine takes a layer up behind its attention, that is a call too.
    """
    count = [0]

    def add(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        count[0] += args[0].shape[0] * args[0].shape[1]

    with ExitStack() as stack:
        for layer in adapter.layers:
            handle = layer.mlp.register_forward_pre_hook(add)
            stack.callback(handle.remove)
        yield count


def clock(adapter: Adapter) -> float:
    """Seconds: on a GPU the time of day once its work is done, on a CPU the process's own time.

    Process time leaves out what other jobs take of the machine; it counts all threads together.
    """
    if adapter.device.type == "cuda":
        for device in adapter.devices:
            torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def device_name(adapter: Adapter) -> str:
    """What `clock` measures on: the GPU's name, or those of all that a split model uses, or CPU."""
    if adapter.device.type == "cuda":
        return " + ".join(torch.cuda.get_device_name(device) for device in adapter.devices)
    return "CPU"
