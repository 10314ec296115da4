"""Fast rankings of candidates: what does not change is not computed again.

The prompts' common prefix is run once per intervention, the candidates behind it in a few rows that
share their common beginnings.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hones_core.engine.at_once import Interventions, Label, Limits, run_together, together
from hones_core.engine.replay import Trace, trace
from hones_core.engine.results import Ranked
from hones_core.engine.segments import Tree, candidate_segment, grow, prefix_segment
from hones_core.models.adapter import Adapter, Batch


@dataclass(frozen=True)
class TracedCandidates:
    """A chunk of queries, traced.

    For each query: its candidates' (row, read) in the segment, the positive, and the others, one of
    each kind.
    """

    traced: Trace
    places: list[list[tuple[int, int]]]
    positives: list[int]
    others: list[list[int]]
    yes_no: tuple[int, int]


def trace_candidates(
    adapter: Adapter,
    prefix: Batch,
    suffixes: Sequence[Sequence[Sequence[int]]],
    positives: Sequence[int],
    yes_no: tuple[int, int],
    limits: Limits,
) -> TracedCandidates:
    """Trace the prefix [Q, P] of each query and all its candidates' remaining tokens."""
    trees: list[Tree] = []
    owners: list[int] = []
    places: list[list[tuple[int, int]]] = []
    for query, texts in enumerate(suffixes):
        own: dict[int, tuple[int, int]] = {}
        for group in candidate_groups(texts, limits.candidate_rows):
            tree = grow([texts[index] for index in group], own_ends=True)
            for index, path in zip(group, tree.paths, strict=True):
                own[index] = (len(trees), path[-1])
            trees.append(tree)
            owners.append(query)
        places.append([own[index] for index in range(len(texts))])
    segment = candidate_segment(adapter, prefix, trees, owners)
    columns, read_of = _read_columns(places, len(trees))
    segment = segment.reading(columns.to(adapter.device))
    traced = trace(adapter, [prefix_segment(adapter, prefix), segment])
    return TracedCandidates(
        traced,
        [[(row, read_of[row, node]) for row, node in own] for own in places],
        list(positives),
        [_others(*query) for query in zip(suffixes, positives, strict=True)],
        yes_no,
    )


def rankings_under(
    adapter: Adapter,
    chunk: TracedCandidates,
    interventions: Interventions,
    limits: Limits,
    close_margin: float,
) -> dict[Label, list[Ranked]]:
    """Every query's ranking under every intervention; no changes stand for the unchanged model."""
    found: dict[Label, list[Ranked]] = {}
    for labels in together(interventions, limits.copies):
        run = run_together(adapter, chunk.traced, [interventions[label] for label in labels], False)
        states = run.read(1).unflatten(0, (run.copies, -1))
        for label, own in zip(labels, states, strict=True):
            found[label] = _ranked(adapter, chunk, own, close_margin)
    return {label: found[label] for label in interventions}


def candidate_groups(texts: Sequence[Sequence[int]], rows: int) -> list[list[int]]:
    """The candidates in at most `rows` groups of equal size, neighbours in the dictionary."""
    order = sorted(range(len(texts)), key=lambda index: list(texts[index]))
    size = -(-len(order) // rows)
    return [order[start : start + size] for start in range(0, len(order), size)]


def _read_columns(
    places: Sequence[Sequence[tuple[int, int]]], rows: int
) -> tuple[Tensor, dict[tuple[int, int], int]]:
    """Columns [rows, K] that are read, padded by repetition, and the read of each (row, node)."""
    nodes: list[list[int]] = [[] for _ in range(rows)]
    read_of: dict[tuple[int, int], int] = {}
    for own in places:
        for row, node in own:
            if (row, node) not in read_of:
                read_of[row, node] = len(nodes[row])
                nodes[row].append(node)
    width = max(len(row) for row in nodes)
    return torch.tensor([row + row[-1:] * (width - len(row)) for row in nodes]), read_of


def _ranked(
    adapter: Adapter, chunk: TracedCandidates, states: Tensor, close_margin: float
) -> list[Ranked]:
    """Rankings from final states [rows, K, d]."""
    results = []
    yes, no = chunk.yes_no
    queries = zip(chunk.places, chunk.positives, chunk.others, strict=True)
    for own, positive, others in queries:
        rows, reads = (list(part) for part in zip(*own, strict=True))
        logits = adapter.logits(states[rows, reads])  # [N, V]
        margins = (logits[:, yes] - logits[:, no]).double().tolist()
        logprob = float(logits[positive].log_softmax(-1)[yes])
        doubtful = _doubtful(margins, positive, others, close_margin)
        results.append(Ranked(margins, logprob, tuple(doubtful)))
    return results


def _others(texts: Sequence[Sequence[int]], positive: int) -> list[int]:
    """The candidates beside the positive; of identical ones only one, as all have one margin."""
    kinds = {tuple(text): index for index, text in enumerate(texts) if index != positive}
    return list(kinds.values())


def _doubtful(
    margins: Sequence[float], positive: int, others: Sequence[int], close_margin: float
) -> list[int]:
    """The candidates that are less than the margin away from the positive, or from the best one."""
    near = [one for one in others if abs(margins[positive] - margins[one]) < close_margin]
    best = max(margins[one] for one in (positive, *others))
    top = [one for one in (positive, *others) if best - margins[one] < close_margin]
    return sorted({*([positive, *near] if near else []), *(top if len(top) > 1 else [])})
