"""Fast answers: what does not change under an intervention is not computed again.

The unchanged model's answer is a draft. One replay of prompt, draft and target from the changed
layer on tells whether every greedy choice stays what it was; only rows that leave the draft are
decoded, all together.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hones_core.engine.at_once import Interventions, Label, Limits, run_together, together
from hones_core.engine.decode import Decoded, DecodePool, Waiting, choose
from hones_core.engine.interventions import Change
from hones_core.engine.replay import KeysValues, Replay, Trace, trace
from hones_core.engine.results import Answer
from hones_core.engine.segments import (
    PROMPT_END,
    answer_segment,
    grow,
    prompt_segment,
)
from hones_core.models.adapter import Adapter, Batch, following_positions

NAN = float("nan")


@dataclass(frozen=True)
class _Paths:
    """Token sequences to be verified: ids [R, D] padded with -1, and the read of each [R, D].

    They lie where logits are.
    """

    ids: Tensor
    reads: Tensor

    @property
    def real(self) -> Tensor:
        return self.ids >= 0


@dataclass(frozen=True)
class TracedAnswers:
    """A chunk of questions with drafts and targets behind them, traced.

    Question n is asked in row owners[n] of the prompts. above[n] are the nodes between the row's
    prompt and the answer: none, but where several questions share a prompt's beginning.
    draft_nodes[n] are those of the draft's tokens that are input.
    """

    traced: Trace
    prompt: Batch
    owners: Tensor
    above: list[list[int]]
    draft_nodes: list[list[int]]
    drafts: list[list[int]]
    draft_paths: _Paths
    target_paths: _Paths | None
    max_new_tokens: int


def trace_answers(
    adapter: Adapter,
    batch: Batch,
    targets: Sequence[Sequence[int]] | None,
    max_new_tokens: int,
    limits: Limits,
) -> TracedAnswers:
    """Answer the prompts by the unchanged model, and trace prompts, answers and targets."""
    drafts = base_answers(adapter, batch, max_new_tokens, limits)
    questions = [Question(row, [], draft) for row, draft in enumerate(drafts)]
    return trace_questions(adapter, batch, questions, targets, max_new_tokens)


@dataclass(frozen=True)
class Question:
    """One question behind row `owner` of a batch of prompts or of their beginnings.

    rest: the prompt's remaining tokens; draft: the unchanged model's answer.
    """

    owner: int
    rest: list[int]
    draft: list[int]


def trace_questions(
    adapter: Adapter,
    batch: Batch,
    questions: Sequence[Question],
    targets: Sequence[Sequence[int]] | None,
    max_new_tokens: int,
) -> TracedAnswers:
    """Trace a batch with all its rows' questions, their drafts and targets (or None) behind it."""
    sequences: list[list[list[int]]] = [[] for _ in batch.input_ids]
    places = []
    for index, question in enumerate(questions):
        own = sequences[question.owner]
        places.append(len(own))
        own.append([*question.rest, *question.draft[:-1]])
        if targets is not None:
            own.append([*question.rest, *targets[index][:-1]])
    trees = [grow(row) for row in sequences]
    above, draft_nodes, target_nodes = [], [], []
    for question, place in zip(questions, places, strict=True):
        paths, n = trees[question.owner].paths, len(question.rest)
        above.append(paths[place][:n])
        draft_nodes.append(paths[place][n:])
        target_nodes.append(paths[place + 1][n:] if targets is not None else [])
    device, of_logits = adapter.device, adapter.unembedding.device
    answering: list[set[int]] = [set() for _ in trees]
    for question, *nodes in zip(questions, above, draft_nodes, target_nodes, strict=True):
        before, draft, target = nodes
        answering[question.owner] |= {before[-1] if before else PROMPT_END, *draft, *target}
    drafts = [question.draft for question in questions]
    return TracedAnswers(
        traced=trace(adapter, [answer_segment(adapter, batch, trees, answering)]),
        prompt=batch,
        owners=torch.tensor([question.owner for question in questions], device=device),
        above=above,
        draft_nodes=draft_nodes,
        drafts=drafts,
        draft_paths=_paths(drafts, above, draft_nodes, of_logits),
        target_paths=None if targets is None else _paths(targets, above, target_nodes, of_logits),
        max_new_tokens=max_new_tokens,
    )


def answers_under(
    adapter: Adapter,
    chunk: TracedAnswers,
    interventions: Interventions,
    limits: Limits,
    close_margin: float,
) -> dict[Label, list[Answer]]:
    """Every row's answer under every intervention; no changes stand for the unchanged model."""
    pool = DecodePool(adapter, limits.decode_rows)
    found: dict[tuple[Label, int], _Verified] = {}
    for labels in together(interventions, limits.copies):
        run = run_together(adapter, chunk.traced, [interventions[label] for label in labels])
        found.update(_verify(adapter, chunk, run, labels, interventions, pool))
    decoded = pool.finish()
    rows = range(len(chunk.drafts))
    return {
        label: [_answer(found[label, row], decoded.get((label, row)), close_margin) for row in rows]
        for label in interventions
    }


@dataclass(frozen=True)
class _Verified:
    """What one replay says of one row: the tokens before the draft is left, and the next one."""

    kept: list[int]
    following: int | None
    margin: float
    target_logprob: float
    first_logprob: float


def base_answers(
    adapter: Adapter, batch: Batch, max_new_tokens: int, limits: Limits
) -> list[list[int]]:
    """Greedy answers of the unchanged model to left-padded prompts."""
    traced = trace(adapter, [prompt_segment(adapter, batch)])
    tokens, _ = choose(adapter.logits(traced.read(0)[:, -1]))
    rows = len(batch.input_ids)
    names: list[Hashable] = list(range(rows))
    pool = DecodePool(adapter, limits.decode_rows)
    pool.add(
        Waiting(
            names,
            [],
            [row[0].keys_values for row in traced.layers],
            batch.attention_mask.bool(),
            tokens.to(adapter.device),
            following_positions(batch.positions, 1)[0, :, 0],
            torch.full((rows,), max_new_tokens - 1, device=adapter.device),
        )
    )
    decoded = pool.finish()
    return [decoded[name].tokens for name in names]


def _paths(
    sequences: Sequence[Sequence[int]],
    above: Sequence[Sequence[int]],
    nodes: Sequence[Sequence[int]],
    device: torch.device,
) -> _Paths:
    """Where each token is predicted: the first by the prompt's end, the next by the node before.

    Read 0 is the last column of the batch's row, read 1 + n node n of its tree.
    """
    width = max(len(sequence) for sequence in sequences)
    ids = torch.full((len(sequences), width), -1)
    reads = torch.zeros(len(sequences), width, dtype=torch.long)
    for row, (sequence, before, path) in enumerate(zip(sequences, above, nodes, strict=True)):
        start = 1 + before[-1] if before else 0
        ids[row, : len(sequence)] = torch.tensor(list(sequence))
        reads[row, : len(sequence)] = torch.tensor([start, *(1 + node for node in path)])
    return _Paths(ids.to(device), reads.to(device))


def _verify(
    adapter: Adapter,
    chunk: TracedAnswers,
    run: Replay,
    labels: Sequence[Label],
    interventions: Interventions,
    pool: DecodePool,
) -> dict[tuple[Label, int], _Verified]:
    """Compare all choices with the draft; rows that leave it go to the pool."""
    logits = adapter.logits(run.read(0)).unflatten(0, (run.copies, -1))  # [C, R, K, V]
    chosen, margins = (
        _at(values, chunk.owners, chunk.draft_paths.reads) for values in choose(logits)
    )
    leaves = (chosen != chunk.draft_paths.ids) & chunk.draft_paths.real
    lengths = chunk.draft_paths.real.sum(-1)
    width = leaves.shape[-1]
    first = torch.where(leaves.any(-1), leaves.int().argmax(-1), lengths)  # [C, R]
    decided = torch.arange(width, device=first.device) <= first[..., None]
    decided &= chunk.draft_paths.real
    smallest = margins.masked_fill(~decided, float("inf")).amin(-1).tolist()
    means, firsts = _target_logprobs(logits, chunk)
    places, tokens = first.tolist(), chosen.tolist()
    found: dict[tuple[Label, int], _Verified] = {}
    for copy, label in enumerate(labels):
        leaving = []
        for row, draft in enumerate(chunk.drafts):
            at = places[copy][row]
            following = tokens[copy][row][at] if at < len(draft) else None
            found[label, row] = _Verified(
                draft[:at], following, smallest[copy][row], means[copy][row], firsts[copy][row]
            )
            goes_on = at + 1 < chunk.max_new_tokens and following not in adapter.stop_ids
            if following is not None and goes_on:
                leaving.append((row, at, following))
        if leaving:
            pool.add(_waiting(chunk, run, copy, label, interventions[label], leaving))
    return found


def _waiting(
    chunk: TracedAnswers,
    run: Replay,
    copy: int,
    label: Label,
    changes: Sequence[Change],
    leaving: Sequence[tuple[int, int, int]],
) -> Waiting:
    """Questions (index, tokens kept, next token) with what was computed for them up to there."""
    segment = chunk.traced.segments[0]
    device = segment.mask.device
    rows = chunk.owners[[row for row, _, _ in leaving]]
    width = chunk.prompt.input_ids.shape[1]
    mask = torch.zeros(len(leaving), segment.mask.shape[-1], dtype=torch.bool)
    for place, (row, at, _) in enumerate(leaving):
        seen = [*chunk.above[row], *chunk.draft_nodes[row][:at]]
        mask[place, [width + node for node in seen]] = True
    mask = mask.to(device)
    mask[:, :width] = chunk.prompt.attention_mask[rows].bool()
    kept = torch.tensor([at for _, at, _ in leaving], device=device)
    above = torch.tensor([len(chunk.above[row]) for row, _, _ in leaving], device=device)
    return Waiting(
        [(label, row) for row, _, _ in leaving],
        changes,
        _keys_values(chunk.traced, run, copy, rows),
        mask,
        torch.tensor([token for _, _, token in leaving], device=device),
        following_positions(chunk.prompt.positions[:, rows], 1)[0, :, 0] + above + kept,
        chunk.max_new_tokens - 1 - kept,
    )


def _keys_values(traced: Trace, run: Replay, copy: int, rows: Tensor) -> list[KeysValues]:
    """Of the chosen rows, layer by layer: up to the changed layer they are the trace's."""
    n_rows = traced.segments[0].rows
    result = []
    for layer, row in enumerate(traced.layers):
        if layer in run.keys_values:
            keys, values = run.keys_values[layer][0]
            own = (copy * n_rows + rows).to(keys.device)
        else:
            keys, values = row[0].keys_values
            own = rows.to(keys.device)
        result.append((keys[own], values[own]))
    return result


def _at(values: Tensor, owners: Tensor, reads: Tensor) -> Tensor:
    """values [C, R, K, ...] at the reads [N, D] of the owners' rows: [C, N, D, ...]."""
    return values[:, owners.to(values.device)[:, None], reads]


def _target_logprobs(logits: Tensor, chunk: TracedAnswers) -> tuple[list, list]:
    """Mean and first log-probability of the targets, [C][N], from logits [C, R, K, V]."""
    paths = chunk.target_paths
    if paths is None:
        nothing = [[NAN] * len(chunk.drafts) for _ in range(len(logits))]
        return nothing, nothing
    wanted = _at(logits, chunk.owners, paths.reads).log_softmax(-1)
    ids = paths.ids.clamp(min=0).expand(len(logits), -1, -1)
    tokens = wanted.gather(-1, ids[..., None]).squeeze(-1).double()
    means = (tokens * paths.real).sum(-1) / paths.real.sum(-1)
    return means.tolist(), tokens[..., 0].tolist()


def _answer(verified: _Verified, decoded: Decoded | None, close_margin: float) -> Answer:
    tokens, margin = list(verified.kept), verified.margin
    if decoded is not None:
        tokens += decoded.tokens
        margin = min(margin, decoded.margin)
    elif verified.following is not None:
        tokens.append(verified.following)
    close = margin < close_margin
    return Answer(tokens, verified.target_logprob, verified.first_logprob, close)
