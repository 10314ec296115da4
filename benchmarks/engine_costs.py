"""What the unavoidable work costs on stock modules, and how much memory the two paths take.

**The bound of short answers and of neuron scores.** Mean-replacing a head of layer l at all
positions changes, at all positions, what layer l's FFN and all later layers compute. An exact
method must therefore run

- for l below the top layer: the FFN part of layer l and the layers between it and the top one at
  all columns (prompt and answer), the top layer's keys and values at all columns, and the rest of
  the top layer at the columns that are read, which predict the answer's tokens;
- for the top layer: its FFN part at the columns that are read;

and, once for all heads, the unchanged model, vision tower and all. Each of these is timed on the
stock modules as the stock model calls them (no explicit mask), in the same run, at the same batch
shape. Not counted, though needed as well: unembedding and comparing, and decoding answers that
changed. `bound_share_short_answer` is the mean of this over the measured heads, divided by the fast
engine's mean time for them; `bound_share_neuron` likewise, where only the prompt's last column is
read.
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from engine_work import Clock, Head, Round
from torch import Tensor

from hones_core.models.adapter import Adapter

REPETITIONS = 3


class _Given:
    """Stands in for a cache: gives what was computed before."""

    def __init__(self, keys: Tensor, values: Tensor):
        self.both = keys, values

    def update(self, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        return self.both


def unit_costs(adapter: Adapter, rows: int, columns: int, reads: int) -> dict[str, float]:
    """Seconds of a layer: whole, its FFN part, its keys and values, and parts of it at the reads.

    Means over all layers, one after the other, so that each finds its weights as cold as in a run.
    """
    device, dtype = adapter.device, adapter.dtype
    width = adapter.layers[0].mlp.down_proj.out_features
    hidden = torch.randn(rows, columns, width, device=device, dtype=dtype)
    few = hidden[:, -reads:]
    positions = torch.arange(columns, device=device).expand(adapter.position_axes, rows, -1)
    rotary = adapter.rotary(hidden, positions)
    late = tuple(part[:, -reads:] for part in rotary)
    seen = torch.ones(columns, columns, dtype=torch.bool, device=device).tril()[None, None, -reads:]
    given = [_Given(*adapter.keys_values(i, hidden, *rotary)) for i in range(adapter.n_layers)]

    def ffn(index: int, values: Tensor) -> None:
        layer = adapter.layers[index]
        values + layer.mlp(layer.post_attention_layernorm(values))

    parts: dict[str, Callable[[int], object]] = {
        "layer": lambda i: adapter.layers[i](hidden, position_embeddings=rotary),
        "ffn": lambda i: ffn(i, hidden),
        "keys_values": lambda i: adapter.keys_values(i, hidden, *rotary),
        "layer_at_reads": lambda i: adapter.layers[i](
            few, attention_mask=seen, position_embeddings=late, past_key_values=given[i]
        ),
        "ffn_at_reads": lambda i: ffn(i, few),
    }
    clock = Clock(device)
    with torch.inference_mode():
        for name, part in parts.items():
            with clock(name):
                for index in range(adapter.n_layers):
                    part(index)
    return {name: seconds / adapter.n_layers for name, seconds in clock.seconds.items()}


def unavoidable(layers: int, head: Head, costs: dict[str, float]) -> float:
    """Seconds of the unavoidable work for one head; see the module's docstring."""
    between = layers - 2 - head[0]
    if between < 0:
        return costs["ffn_at_reads"]
    return costs["ffn"] + between * costs["layer"] + costs["keys_values"] + costs["layer_at_reads"]


def bound_share(adapter: Adapter, heads: Sequence[Head], rows: int, found: Round) -> float:
    """Share of the bound that the work of a round reaches.

    The fast engine's part is done again, between measurements of the costs, so that both see the
    same moments of a busy machine.
    """
    size = rows, int(found.more["columns"]), int(found.more["reads"])
    costs, taken = [unit_costs(adapter, *size)], []
    for _ in range(REPETITIONS):
        taken.append(found.again())
        costs.append(unit_costs(adapter, *size))
    middle = {name: statistics.median(one[name] for one in costs) for name in costs[0]}
    needed = [unavoidable(adapter.n_layers, head, middle) for head in heads]
    return (statistics.mean(needed) + found.more["base_share"]) / statistics.median(taken)


def peak_memory(arguments: Sequence[str], path: str) -> int:
    """Bytes that short answers and retrieval take beyond the loaded model, in a child process."""
    command = [sys.executable, sys.argv[0], *arguments, "--memory", path]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout.splitlines()[-1])


class MemoryMeter:
    """Peak memory since the meter was made: of the process, or of the GPU's tensors."""

    def __init__(self, device: torch.device):
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self.start = torch.cuda.memory_allocated()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak is now what is used now
            self.start = _high_water_mark()

    def grown(self) -> int:
        """Bytes between the start and the peak."""
        on_gpu = self.device.type == "cuda"
        return (torch.cuda.max_memory_allocated() if on_gpu else _high_water_mark()) - self.start


def _high_water_mark() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
