"""What a forward pass is over: columns of tokens, their positions, and who may see whom.

The one place where positions and attention masks of the fast engine are built. A segment is a
block of rows. The first one holds prompts; a row of a second one continues a row of the first, so
that several rows can share one prompt. Answers that begin alike share their first columns: behind a
prompt they form a tree, in which a token sees the prompt, its ancestors and itself.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hones_core.models.adapter import Adapter, Batch, following_positions

PROMPT_END = -1  # stands for the last column of the prompt, which is left of node 0


@dataclass(frozen=True)
class Tree:
    """Token sequences with their common beginnings merged.

    tokens, parents: one per node, parents before children, -1 for the prompt. paths: for each
    sequence the nodes of its tokens, in order.
    """

    tokens: list[int]
    parents: list[int]
    paths: list[list[int]]

    @property
    def is_chain(self) -> bool:
        """Whether every node continues the one before it."""
        return self.parents == list(range(-1, len(self.parents) - 1))

    @property
    def depths(self) -> list[int]:
        """Number of nodes above each node."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(0 if parent < 0 else depths[parent] + 1)
        return depths

    def ancestors(self) -> Tensor:
        """[N, N], True where the column's node is the row's node or above it."""
        seen = torch.eye(len(self.parents), dtype=torch.bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] |= seen[parent]
        return seen


def grow(sequences: Sequence[Sequence[int]], own_ends: bool = False) -> Tree:
    """The tree of the sequences.

    With `own_ends` the last token of a sequence has a node that no longer sequence passes through:
    what is asked at a sequence's end is then asked nowhere else.
    """
    tree = Tree([], [], [])
    children: dict[tuple[int, int, bool], int] = {}
    for sequence in sequences:
        node, path = -1, []
        for place, token in enumerate(sequence, start=1):
            key = (node, token, own_ends and place == len(sequence))
            if key not in children:
                children[key] = len(tree.tokens)
                tree.tokens.append(token)
                tree.parents.append(node)
            node = children[key]
            path.append(node)
        tree.paths.append(path)
    return tree


@dataclass(frozen=True)
class Segment:
    """R rows of S columns.

    embeddings [R, S, d]; positions [A, R, S]; mask [R, 1, S, C], True where the column may be seen,
    the C context columns being those of the parents' rows and then the S own ones; real [R, S],
    False for padding; answering [R, S], True at the positions that give the answer; rotary: cosine
    and sine for the positions. parents [R]: the row of the segment before that each row continues,
    or None. reads [R, K]: the columns whose output is wanted, or None if there are none. causal:
    the mask is the plain causal one, which attention applies by itself, and in half the time.
    """

    embeddings: Tensor
    positions: Tensor
    mask: Tensor
    real: Tensor
    answering: Tensor
    rotary: tuple[Tensor, Tensor]
    parents: Tensor | None = None
    reads: Tensor | None = None
    causal: bool = False

    @property
    def attention_mask(self) -> Tensor | None:
        """The mask as a decoder layer takes it; None stands for the causal one."""
        return None if self.causal else self.mask

    @property
    def rows(self) -> int:
        return len(self.embeddings)

    @property
    def read_columns(self) -> Tensor:
        """`reads` of a segment of which something is read; ValueError for another."""
        if self.reads is None:
            raise ValueError("nothing is read of this segment")
        return self.reads

    def on(self, device: torch.device) -> "Segment":
        """The segment as a layer on `device` reads it; itself where it lies there.

        Embeddings, positions and `real`, which no layer reads, stay where they are.
        """
        if self.mask.device == device:
            return self
        cos, sin = self.rotary
        return replace(
            self,
            mask=self.mask.to(device),
            answering=self.answering.to(device),
            rotary=(cos.to(device), sin.to(device)),
            parents=None if self.parents is None else self.parents.to(device),
            reads=None if self.reads is None else self.reads.to(device),
        )

    def reading(self, columns: Tensor | None) -> "Segment":
        """The same segment with other columns to be read."""
        return replace(self, reads=columns)

    def repeated(self, times: int) -> "Segment":
        """The segment's rows `times` over, the whole block each time."""
        if times == 1:
            return self
        parents = self.parents
        if parents is not None:
            n_parents = int(parents.max()) + 1
            offsets = torch.arange(times, device=parents.device) * n_parents
            parents = (offsets[:, None] + parents).flatten()
        cos, sin = self.rotary
        return Segment(
            self.embeddings,  # only the shapes of a repeated segment's other parts are used
            self.positions,
            _repeat(self.mask, times),
            self.real,
            _repeat(self.answering, times),
            (_repeat(cos, times), _repeat(sin, times)),
            parents,
            None if self.reads is None else _repeat(self.reads, times),
            self.causal,
        )

    def at_reads(self) -> "Segment":
        """The columns that are read, as a segment whose context is unchanged."""
        reads = self.read_columns
        cos, sin = self.rotary
        return replace(
            self,
            mask=self.mask.gather(
                2, reads[:, None, :, None].expand(-1, 1, -1, self.mask.shape[-1])
            ),
            answering=self.answering.gather(1, reads),
            rotary=(take(cos, reads), take(sin, reads)),
            causal=False,
        )


def take(values: Tensor, columns: Tensor) -> Tensor:
    """values [R, S, w] at columns [R, K]: [R, K, w]."""
    return values.gather(1, columns[..., None].expand(-1, -1, values.shape[-1]))


def prompt_segment(adapter: Adapter, batch: Batch) -> Segment:
    """Left-padded prompts by themselves, of which the last column is read."""
    return answer_segment(adapter, batch, [Tree([], [], []) for _ in batch.input_ids])


def prefix_segment(adapter: Adapter, batch: Batch) -> Segment:
    """Beginnings of prompts: nothing is read, and no column gives an answer."""
    segment = prompt_segment(adapter, batch)
    return replace(segment, answering=torch.zeros_like(segment.real), reads=None)


def answer_segment(
    adapter: Adapter,
    batch: Batch,
    trees: Sequence[Tree],
    answering_nodes: Sequence[set[int]] | None = None,
) -> Segment:
    """Left-padded prompts, each with its tree of answers behind it in the same row.

    Read are the prompt's last column and all nodes: read 0 predicts what follows the prompt, read
    1 + n what follows node n. The prompt's end and all nodes give the answer, unless
    `answering_nodes` says which do; PROMPT_END stands for the former.
    """
    below, width = _tree_parts(adapter, trees), batch.input_ids.shape[1]
    prompt = batch.attention_mask.bool()
    real = torch.cat([prompt, below.real], 1)
    rows, total = real.shape
    causal = torch.ones(width, width, dtype=torch.bool, device=real.device).tril()
    mask = torch.zeros(rows, total, total, dtype=torch.bool, device=real.device)
    mask[:, :width, :width] = causal & prompt[:, None]
    mask[:, width:, :width] = prompt[:, None]
    mask[:, width:, width:] = below.seen
    answering = torch.zeros_like(real)
    for row, tree in enumerate(trees):
        nodes: Iterable[int] = range(PROMPT_END, len(tree.tokens))
        if answering_nodes is not None:
            nodes = answering_nodes[row]
        answering[row, [width + node for node in nodes]] = True
    reads = torch.arange(width - 1, total, device=real.device).expand(rows, -1)
    positions = torch.cat(
        [batch.positions, _positions_below(batch.positions, below.depths)], dim=-1
    )
    embeddings = torch.cat([batch.embeddings, below.embeddings.to(batch.embeddings.dtype)], 1)
    segment = _segment(adapter, embeddings, positions, mask, real, answering, None, reads)
    is_causal = bool(prompt.all()) and all(tree.is_chain for tree in trees)
    return replace(segment, causal=is_causal and _masks_by_itself(adapter))


def candidate_segment(
    adapter: Adapter, batch: Batch, trees: Sequence[Tree], owners: Sequence[int]
) -> Segment:
    """Trees of candidates, one row each, behind the prompt prefix `owners[row]` of `batch`.

    All nodes can be read; a candidate's answer is asked at the last node of its path.
    """
    below = _tree_parts(adapter, trees)
    parents = torch.tensor(list(owners), device=below.real.device)
    prompt = batch.attention_mask.bool()[parents]
    before = prompt[:, None].expand(-1, below.seen.shape[1], -1)
    mask = torch.cat([before, below.seen], dim=-1)
    positions = _positions_below(batch.positions[:, parents], below.depths)
    answering = torch.zeros_like(below.real)
    for row, tree in enumerate(trees):
        for path in tree.paths:
            answering[row, path[-1]] = True
    embeddings = below.embeddings.to(batch.embeddings.dtype)
    return _segment(adapter, embeddings, positions, mask, below.real, answering, parents, None)


@dataclass(frozen=True)
class _TreeParts:
    embeddings: Tensor
    real: Tensor
    depths: Tensor
    seen: Tensor


def _tree_parts(adapter: Adapter, trees: Sequence[Tree]) -> _TreeParts:
    """The nodes of all trees, padded on the right to the largest."""
    width = max(len(tree.tokens) for tree in trees)
    ids = torch.zeros(len(trees), width, dtype=torch.long)
    real = torch.zeros(len(trees), width, dtype=torch.bool)
    depths = torch.zeros(len(trees), width, dtype=torch.long)
    seen = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)
    for row, tree in enumerate(trees):
        n = len(tree.tokens)
        ids[row, :n] = torch.tensor(tree.tokens, dtype=torch.long)
        depths[row, :n] = torch.tensor(tree.depths, dtype=torch.long)
        real[row, :n] = True
        seen[row, :n, :n] = tree.ancestors()
    device = adapter.device
    return _TreeParts(
        adapter.embed(ids.to(device)), real.to(device), depths.to(device), seen.to(device)
    )


def _masks_by_itself(adapter: Adapter) -> bool:
    """Whether attention without a mask is causal; Hugging Face's eager one would not be."""
    return adapter.language_model.config._attn_implementation == "sdpa"


def _positions_below(prompt: Tensor, depths: Tensor) -> Tensor:
    """Positions [A, R, N] of tree nodes at the given depths behind prompts [A, R, T]."""
    first = following_positions(prompt, 1)  # [A, R, 1]
    return first + depths


def _segment(
    adapter: Adapter,
    embeddings: Tensor,
    positions: Tensor,
    mask: Tensor,
    real: Tensor,
    answering: Tensor,
    parents: Tensor | None,
    reads: Tensor | None,
) -> Segment:
    columns = mask.shape[1]  # a padding column sees itself, so that its softmax is defined
    mask[:, :, -columns:] |= torch.eye(columns, dtype=torch.bool, device=mask.device)
    rotary = adapter.rotary(embeddings, positions)
    return Segment(embeddings, positions, mask[:, None], real, answering, rotary, parents, reads)


def _repeat(values: Tensor, times: int) -> Tensor:
    return values.repeat(times, *([1] * (values.ndim - 1)))
