"""What memory is free, and an evaluator that does as much at once as fits into it."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from hones_core.engine.at_once import Limits
from hones_core.engine.budget import ANSWERS, CANDIDATES, PROMPTS, Sizes
from hones_core.engine.shapes import shape_of
from hones_core.engine.sizing import SHARES, choose, describe, given_sizes
from hones_core.tasks.instances import Instance


def free_bytes(device: torch.device) -> int:
    """Memory that new tensors could take on the device, all of it."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + unused
    return _free_main_memory()


def usable_bytes(device: torch.device, still_to_come: int = 0) -> int:
    """The share of the free memory that is planned with, less what is known to come."""
    return int(max(0, free_bytes(device) - still_to_come) * SHARES.get(device.type, SHARES["cpu"]))


def usable_for_layers(adapter: Any) -> int:
    """What may be planned with for all layers of a model together, in bytes.

    What a plan needs is spread over the layers, so that a split model's is bounded by the device
    that fills first: the least, over the devices of layers, of what is usable there over its share
    of the layers. Logits, which lie on the last device alone, are taken for spread as well.
    """
    n_layers = adapter.n_layers
    layers = Counter(adapter.layer_device(index) for index in range(n_layers))
    to_come = {adapter.unembedding.device: _still_to_come(adapter)}
    return min(
        usable_bytes(device, to_come.get(device, 0)) * n_layers // own
        for device, own in layers.items()
    )


def _free_main_memory() -> int:
    """What Linux says is available, files that it would drop included; else the free pages."""
    table = Path("/proc/meminfo")
    if table.exists():
        for line in table.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def plan_evaluator(
    evaluator: Any,
    instances: Sequence[Instance],
    answered: bool,
    batch_size: int | None,
    copies: int | None,
    decode_rows: int | None,
) -> None:
    """Set an evaluator's batch size and limits to what fits, and say so in one line on stderr.

    None is planned, a number is kept; instances are those that will be run. `answered`: whether
    they are answered, or ranked, not only run to the end of the prompt.
    """
    work = PROMPTS
    if answered:
        work = ANSWERS if evaluator.decodes else CANDIDATES
    rows = evaluator.limits.candidate_rows
    given = given_sizes(work, batch_size, copies, decode_rows, rows)
    sizes = replace(Sizes(decode_rows=evaluator.limits.decode_rows), **given)
    if _open_sizes(work, given):
        adapter, lengths = evaluator.adapter, evaluator.lengths(instances)
        free = usable_for_layers(adapter)
        chosen = choose(shape_of(adapter), work, lengths, free, given, adapter.device.type)
        print(describe(chosen, work, given, lengths), file=sys.stderr, flush=True)
        sizes = chosen.sizes
    evaluator.limits = Limits(sizes.copies, sizes.decode_rows, rows)
    planned = sizes.samples * (rows if work == CANDIDATES else 1)
    evaluator.batch_size = planned if batch_size is None else batch_size


def _open_sizes(work: str, given: dict[str, int]) -> set[str]:
    """What is to be planned: only tasks that generate decode."""
    needed = {"samples", "copies"} | ({"decode_rows"} if work == ANSWERS else set())
    return needed - set(given)


def _still_to_come(adapter: Any) -> int:
    """Bytes of the float32 unembedding, which a model in half precision makes when first needed."""
    return 0 if adapter.dtype == torch.float32 else 4 * adapter.unembedding.numel()
