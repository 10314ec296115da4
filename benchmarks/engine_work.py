"""What `benchmarks/engine.py` works on: how much of it, the samples, the clock, the results."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from engine_models import CONTENT
from engine_nnsight import Traced
from PIL import Image

from hones_core.engine.evaluate import Evaluator
from hones_core.models.adapter import Adapter
from hones_core.tasks.instances import Instance

Head = tuple[int, int]


@dataclass(frozen=True)
class Plan:
    """How much is measured. Numbers of heads are spread evenly over all layers.

    rows and queries: samples of one pass, in every path. nnsight_heads: heads that nnsight is
    measured on, its time being the same for all. bank: neurons of the steered bank. steps: of an
    epoch of steering, of `batch` samples each.
    """

    rounds: int = 3
    retrieval_rounds: int = 1
    rows: int = 1
    heads: int = 24
    nnsight_heads: int = 4
    short_tokens: int = 5
    caption_tokens: int = 20
    candidates: int = 50
    queries: int = 1
    candidates_at_once: int = 10
    retrieval_heads: int = 4
    neuron_heads: int = 30
    bank: int = 256
    steps: int = 2
    batch: int = 4


@dataclass
class Bench:
    """A model, its samples, and how it is measured.

    stops: token ids that end a short answer. decisive: factor of the logits of Yes and No, which
    random weights make all but equal for all candidates.
    """

    adapter: Adapter
    samples: "Samples"
    plan: Plan
    nnsight: Traced | None
    stops: list[int]
    decisive: float = 1.0

    def evaluator(self, task: str) -> Evaluator:
        plan = self.plan
        return Evaluator(self.adapter, task, self.samples.folder, plan.candidates_at_once)

    def heads(self, n: int, number: int) -> list[Head]:
        """n heads, the i-th at the middle of the i-th n-th of the layers; others each round."""
        layers, heads = self.adapter.n_layers, self.adapter.n_heads
        return [
            (int((index + 0.5) * layers / n), (7 * index + 3 * number) % heads)
            for index in range(n)
        ]

    @property
    def all_heads(self) -> int:
        return self.adapter.n_layers * self.adapter.n_heads


class Clock:
    """Seconds by name: process time, or on a GPU the time until it has finished."""

    def __init__(self, device: torch.device):
        self.on_gpu = device.type == "cuda"
        self.seconds: dict[str, float] = {}

    def now(self) -> float:
        if self.on_gpu:
            torch.cuda.synchronize()
            return time.perf_counter()
        return time.process_time()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = self.now()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + self.now() - start


@dataclass
class Round:
    """Mean seconds of one unit of work (a head and pass, an epoch) each way, and what was decided.

    `more` holds whatever else a kind of work has to say; `again` does the fast engine's part once
    more and gives its seconds.
    """

    seconds: dict[str, float]
    compared: int = 0
    differing: int = 0
    more: dict[str, float] = field(default_factory=dict)
    again: Callable[[], float] | None = None


class Samples:
    """Random photographs and sentences; the same number gives the same sample."""

    def __init__(self, folder: Path, size: tuple[int, int], candidates: int):
        self.folder = folder
        self.size = size
        self.candidates = candidates

    def of(self, task: str, number: int) -> Instance:
        """Sample `number` of a task."""
        rng = np.random.default_rng(number)
        fields = {"question": "", "references": (), "candidates": (), "positive_index": -1}
        if task == "vqa":
            fields["question"] = f"What color is {_sentence(rng, 1)}?"
            fields["references"] = (str(rng.choice(CONTENT)),) * 10
        elif task == "caption":
            fields["references"] = tuple(_sentence(rng, 2) for _ in range(5))
        else:
            fields["candidates"] = tuple(_sentence(rng, 2) for _ in range(self.candidates))
            fields["positive_index"] = int(rng.integers(self.candidates))
        image = self._image(number)
        return Instance(f"{task}/{number}", task, "discovery", number, image, **fields)

    def _image(self, number: int) -> str:
        path = self.folder / f"{number}.png"
        if not path.exists():
            pixels = np.random.default_rng(number).integers(0, 256, (*self.size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
        return path.name


def _sentence(rng: np.random.Generator, parts: int) -> str:
    """A noun phrase and some more: five words for each part."""
    words = [f"a {' '.join(rng.choice(CONTENT, 4))}" for _ in range(parts)]
    return " ".join(words)
