"""What the tests of the engine share: what an engine found before a task scored it, and oracles.

The oracles run one prompt at a time, whole and without padding, with an intervention's hooks; that
those hooks do what they should is tested against the stock model elsewhere.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from model_support import Tiny, instance, outcomes_of
from PIL import Image
from torch import Tensor

from hones_core.engine.at_once import Limits
from hones_core.engine.evaluate import Evaluator, Prepared
from hones_core.engine.interventions import Change, Intervention, applied
from hones_core.engine.results import Answer, Ranked
from hones_core.models.adapter import Adapter, Batch, counted_positions, following_positions
from hones_core.tasks.instances import Instance

ENGINES = ("fast", "plain")
# By how much log-probabilities and margins of tiny models may differ between two paths in float32.
# CPUs sum in different orders: of thousands the largest difference was 1.0e-5 on one kind of them.
ROUNDING = 2e-5


class WatchedEvaluator(Evaluator):
    """Keeps what its engine found, in the order in which the outcomes are given.

    `forced` are target token ids by instance that stand for the task's own.
    """

    forced: Mapping[str, Sequence[int]] | None = None

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.seen: list[Answer | Ranked] = []

    def results_under(
        self, prepared: Prepared, interventions: Mapping[str, Intervention | None]
    ) -> dict[str, list[Answer | Ranked]]:
        """An answer or ranking per instance under every intervention."""
        start, n = len(self.seen), len(prepared.instances)
        labels = list(self.outcomes_under(prepared, interventions))
        found = self.seen[start:]
        return {label: found[i * n : (i + 1) * n] for i, label in enumerate(labels)}

    def results(
        self, instances: Sequence[Instance], intervention: Intervention | None = None
    ) -> list[Answer | Ranked]:
        """An answer or ranking per instance under one intervention."""
        return self.results_under(self.prepare(instances), {"": intervention})[""]

    def _outcome(self, instance: Instance, result: Answer | Ranked):
        self.seen.append(result)
        return super()._outcome(instance, result)

    def _targets(self, instances: Sequence[Instance]) -> list[list[int]]:
        if self.forced is None:
            return super()._targets(instances)
        return [list(self.forced[item.instance_id]) for item in instances]


def watched(
    tiny: Tiny,
    task: str,
    engine: str = "fast",
    batch_size: int = 4,
    max_new_tokens: int = 6,
    close_margin: float | None = 0.0,
    **options,
) -> WatchedEvaluator:
    """An evaluator that is watched; it settles no close call unless a margin is given."""
    return WatchedEvaluator(
        tiny.adapter,
        task,
        tiny.images,
        batch_size,
        max_new_tokens,
        engine,
        close_margin=close_margin,
        **options,
    )


def candidate_logits(
    evaluator: Evaluator, prepared: Prepared, intervention: Intervention | None = None
) -> Tensor:
    """Logits [N, V] at the end of every candidate's prompt, from which an engine ranks them."""
    adapter, seen = evaluator.adapter, []
    logits = adapter.logits

    def keep(hidden: Tensor) -> Tensor:
        seen.append(logits(hidden))
        return seen[-1]

    with mock.patch.object(adapter, "logits", keep):
        outcomes_of(evaluator, prepared, intervention)
    return torch.cat(seen)


def hooks_of(adapter: Adapter) -> int:
    """How many hooks there are in the model."""
    return sum(
        len(module._forward_pre_hooks) + len(module._forward_hooks)
        for module in adapter.model.modules()
    )


def small_limits(copies: int = 3, decode_rows: int = 5, candidate_rows: int = 3) -> Limits:
    """Limits that every test exceeds, so that work is split."""
    return Limits(copies, decode_rows, candidate_rows)


@dataclass(frozen=True)
class Jointly:
    """Several interventions at once."""

    parts: tuple[Intervention, ...]

    def changes(self, adapter: Adapter) -> Iterator[Change]:
        for part in self.parts:
            yield from part.changes(adapter)


# --- prompts of random tokens, and their oracles --------------------------------------------------

IMAGE = ((1, 1, 1, 1), (1, 1, 2, 2), (1, 2, 1, 2))  # planes of four image tokens, then comes text


def random_ids(adapter: Adapter, generator: torch.Generator, n: int) -> list[int]:
    """Token ids without a meaning."""
    return torch.randint(5, len(adapter.unembedding), (n,), generator=generator).tolist()


def random_prompts(adapter: Adapter, generator: torch.Generator, lengths: Sequence[int]) -> Batch:
    """Left-padded prompts of at least six random tokens, as wide as the longest and one more.

    Where positions have several planes, the second to fifth token stand for an image.
    """
    width = max(lengths) + 1
    ids = torch.zeros(len(lengths), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, width - length :] = torch.tensor(random_ids(adapter, generator, length))
        mask[row, width - length :] = 1
    positions = counted_positions(mask).repeat(adapter.position_axes, 1, 1)
    if adapter.position_axes > 1:
        for row, length in enumerate(lengths):
            start = width - length + 1
            positions[:, row, start : start + 4] = torch.tensor(IMAGE)
            positions[:, row, start + 4 :] -= 2
    with torch.no_grad():
        return Batch(adapter.embed(ids), mask, ids, positions)


def whole(adapter: Adapter, prompts: Batch, row: int, tokens: Sequence[int] = ()) -> Batch:
    """One prompt with tokens behind it, alone and without padding."""
    real = prompts.attention_mask[row].bool()
    ids = torch.tensor([list(tokens)], dtype=torch.long)
    positions = prompts.positions[:, row : row + 1, real]
    ids = torch.cat([prompts.input_ids[row : row + 1, real], ids], 1)
    embeddings = prompts.embeddings[row : row + 1, real]
    return Batch(
        torch.cat([embeddings, adapter.embed(ids[:, embeddings.shape[1] :])], 1),
        torch.ones_like(ids),
        ids,
        torch.cat([positions, following_positions(positions, len(tokens))], -1),
    )


@torch.no_grad()
def whole_states(
    adapter: Adapter,
    prompts: Batch,
    row: int,
    tokens: Sequence[int] = (),
    intervention: Intervention | None = None,
    answering: int | None = None,
) -> Tensor:
    """Final states [1 + n, d]: at the prompt's end, and at each of the tokens.

    The last `answering` positions give the answer; all of these if it is not given.
    """
    batch = whole(adapter, prompts, row, tokens)
    marked = torch.zeros_like(batch.input_ids, dtype=torch.bool)
    marked[:, -(answering or len(tokens) + 1) :] = True
    with applied(adapter, intervention) if intervention else nullcontext():
        states = adapter.hidden_states(batch, marked)
    return states[0, -len(tokens) - 1 :]


def greedy(
    adapter: Adapter,
    prompts: Batch,
    row: int,
    n: int,
    intervention: Intervention | None = None,
    begun: Sequence[int] = (),
) -> list[int]:
    """Greedy tokens, each from a forward pass over everything before it, until a stop token."""
    tokens = list(begun)
    while len(tokens) < n and not (tokens and tokens[-1] in adapter.stop_ids):
        states = whole_states(adapter, prompts, row, tokens, intervention)
        tokens.append(int(adapter.logits(states[-1]).argmax()))
    return tokens


# --- instances with random words and images -------------------------------------------------------

WORDS = """
    a the red golden brown star ring box sign K8 moon left of near two xylophone ?
""".split()  # noqa: SIM905 - a word list reads best as text


def draw_photographs(folder: Path, n: int) -> Path:
    """Random pixels in random sizes: 0.png, 1.png, ..."""
    generator = np.random.default_rng(7)
    for index in range(n):
        height, width = generator.integers(16, 40, 2)
        pixels = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def remembered(prepare: Callable) -> Callable:
    """`prepare(images, texts)`, called only once for the same pictures and texts.

    The plain path does it anew under every intervention, which would be most of a test's time.
    """
    known: dict[tuple, object] = {}

    def found(images, texts):
        key = (*((image.size, image.tobytes()) for image in images), *texts)
        if key not in known:
            known[key] = prepare(images, texts)
        return known[key]

    return found


def random_instances(task: str, n: int) -> list[Instance]:
    """Questions, answers and candidates of random words, about an image each.

    Some candidates begin like another, and some negatives are the same.
    """
    generator = np.random.default_rng(len(task))

    def text(low: int, high: int) -> str:
        return " ".join(generator.choice(WORDS, generator.integers(low, high)))

    def fields() -> dict:
        if task == "vqa":
            return {"question": text(1, 9), "references": (text(1, 4),) * 10}
        if task == "ocr":
            return {"references": (text(1, 4),)}
        if task == "caption":
            return {"references": tuple(text(3, 9) for _ in range(5))}
        positive = f"{text(1, 5)} here"
        others = [text(1, 7) for _ in range(generator.integers(1, 4))]
        others += [f"{positive} {text(1, 3)}", others[0]][: generator.integers(0, 3)]
        place = int(generator.integers(0, len(others) + 1))
        return {
            "candidates": (*others[:place], positive, *others[place:]),
            "positive_index": place,
        }

    return [replace(instance(task, index, **fields()), image=f"{index}.png") for index in range(n)]
