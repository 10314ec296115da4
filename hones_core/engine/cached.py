"""Teacher-forced targets from cached states: for training that changes upper layers only.

Below the first changed layer nothing depends on what is learned, and neither does the unchanged
model's own prediction, the teacher. Both are computed once per example and kept in main memory.
"""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hones_core.engine.replay import run_from_middle, trace
from hones_core.engine.segments import answer_segment, grow, prompt_segment
from hones_core.models.adapter import Adapter, Batch

Example = tuple[Hashable, list[int]]  # a name, and the target's token ids


@dataclass(frozen=True)
class _Row:
    """One example: middle [T, d] and positions [A, T] of prompt and target, teacher [n, d]."""

    middle: Tensor
    positions: Tensor
    teacher: Tensor


@dataclass(frozen=True)
class CachedBatch:
    """Examples side by side, padded on the left.

    All lie where inputs go. middle [B, T, d]: the residual stream behind the attention of the first
    changed layer; teacher [B, A, d]: the unchanged model's final states; target_ids and target_mask
    [B, A].
    """

    middle: Tensor
    teacher: Tensor
    target_ids: Tensor
    target_mask: Tensor
    batch: Batch


class CachedTargets:
    """States of examples below the layer `first`, made when an example is first asked for.

    `encode` makes the left-padded prompts of some examples, by their names.
    """

    def __init__(self, adapter: Adapter, first: int, encode: Callable[[Sequence[Hashable]], Batch]):
        self.adapter = adapter
        self.first = first
        self.encode = encode
        self._rows: dict[tuple, _Row] = {}

    @torch.no_grad()
    def batch(self, examples: Sequence[Example]) -> CachedBatch:
        """The states of the examples, from the cache where they are in it."""
        missing = [example for example in examples if _key(example) not in self._rows]
        if missing:
            self._compute(missing)
        rows = [self._rows[_key(example)] for example in examples]
        return _side_by_side(self.adapter, rows, [target for _, target in examples])

    def logits(self, batch: CachedBatch) -> Tensor:
        """Logits [B, A, V] of the model as it is at this moment; differentiable in its hooks."""
        length = batch.target_ids.shape[1]
        prompt = prompt_segment(self.adapter, batch.batch)
        columns = torch.arange(prompt.real.shape[1], device=prompt.real.device)
        # Row b ends with the inputs that predict its target: the last n_b columns.
        starts = len(columns) - batch.target_mask.sum(-1, keepdim=True)
        reads = (starts + torch.arange(length, device=columns.device)).clamp(max=len(columns) - 1)
        segment = replace(prompt, reads=reads, answering=columns >= starts)
        states = run_from_middle(self.adapter, batch.middle, self.first, segment)
        return self.adapter.logits(states)

    def teacher_logits(self, batch: CachedBatch) -> Tensor:
        """Logits [B, A, V] of the unchanged model."""
        return self.adapter.logits(batch.teacher)

    def _compute(self, examples: Sequence[Example]) -> None:
        prompts = self.encode([name for name, _ in examples])
        trees = [grow([target[:-1]]) for _, target in examples]
        traced = trace(self.adapter, [answer_segment(self.adapter, prompts, trees)])
        segment, top = traced.segments[0], self.adapter.n_layers - 1
        middle, width = traced.middle(self.first, 0), prompts.input_ids.shape[1]
        for row, example in enumerate(examples):
            n = len(example[1])
            real = segment.real[row].nonzero().squeeze(1)
            columns = real.to(middle.device)
            if self.first == top:  # traced at the reads only, the rest is never looked at
                whole = middle.new_zeros(segment.real.shape[1], middle.shape[-1])
                whole[width - 1 :] = middle[row]
            else:
                whole = middle[row]
            self._rows[_key(example)] = _Row(
                whole[columns].cpu(),
                segment.positions[:, row, real].cpu(),
                traced.read(0)[row, :n].cpu(),
            )


def _key(example: Example) -> tuple:
    name, target = example
    return name, tuple(target)


def _side_by_side(
    adapter: Adapter, rows: Sequence[_Row], targets: Sequence[Sequence[int]]
) -> CachedBatch:
    width = max(len(row.middle) for row in rows)
    length = max(len(target) for target in targets)
    size = rows[0].middle.shape[-1]
    middle = rows[0].middle.new_zeros(len(rows), width, size)
    teacher = rows[0].teacher.new_zeros(len(rows), length, size)
    positions = rows[0].positions.new_zeros(len(rows[0].positions), len(rows), width)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    known = torch.zeros(len(rows), length, dtype=torch.bool)
    for place, (row, target) in enumerate(zip(rows, targets, strict=True)):
        start = width - len(row.middle)
        middle[place, start:], mask[place, start:] = row.middle, 1
        positions[:, place, start:] = row.positions
        teacher[place, : len(target)] = row.teacher
        ids[place, : len(target)] = torch.tensor(list(target))
        known[place, : len(target)] = True
    device = adapter.device
    middle, mask, ids = middle.to(device), mask.to(device), ids.to(device)
    batch = Batch(middle, mask, torch.zeros_like(mask), positions.to(device))
    return CachedBatch(middle, teacher.to(device), ids, known.to(device), batch)
