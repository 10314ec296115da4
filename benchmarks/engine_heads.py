"""Scoring heads three ways, for `benchmarks/engine.py`: answers and rankings.

Every `…_round` does one round of one kind of work: the same heads and samples by the plain path, by
the fast engine and, for some of the heads, by nnsight. The plain path is taken in two halves around
the fast engine, so that a machine that slows down or speeds up slows both.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from engine_work import Bench, Clock, Head, Round

from hones_core.engine import fast, fast_rankings, plain
from hones_core.engine.evaluate import Evaluator
from hones_core.engine.interventions import MeanReplaceHead, applied
from hones_core.engine.results import Answer, Ranked
from hones_core.models.adapter import Adapter
from hones_core.tasks.instances import Instance


def generation_round(bench: Bench, task: str, number: int) -> Round:
    """Answers under one head after the other; seconds of a head and pass.

    'vqa': answers of at most `short_tokens`, which end at one of `stops`; 'caption': answers of
    `caption_tokens`. The fast engine's time holds the base trace by the share of a head among all
    heads of the model, and the plain runs for close calls.
    """
    adapter, plan = bench.adapter, bench.plan
    length, stops = plan.caption_tokens, []
    if task == "vqa":
        length, stops = plan.short_tokens, bench.stops
    evaluator = bench.evaluator(task)
    evaluator.max_new_tokens = length
    chunk = [bench.samples.of(task, plan.rows * number + row) for row in range(plan.rows)]
    prompts = plain.Prompts(evaluator.images(chunk), [evaluator.text(one) for one in chunk], None)
    heads, found = bench.heads(plan.heads, number), {}
    clock = Clock(adapter.device)

    def run_plain(some: Sequence[Head]) -> None:
        for head in some:
            with clock("plain"), applied(adapter, MeanReplaceHead(*head)):
                found[head] = plain.answers(adapter, prompts, length)

    with torch.inference_mode(), _ending(adapter, stops):
        run_plain(heads[::2])
        with clock("prepare"):
            traced = _traced(evaluator, chunk)
        with clock("fast"):
            answers, close = _fast_answers(evaluator, traced, heads, prompts)
        run_plain(heads[1::2])
        traced_heads = bench.heads(plan.nnsight_heads, number) if bench.nnsight else []
        for head in traced_heads:
            with clock("nnsight"):
                bench.nnsight.answers(head, prompts, length)
        with clock("base"):
            plain.answers(adapter, prompts, length)
    seconds = _per_head(clock.seconds, len(heads), len(traced_heads), bench.all_heads)
    compared = [
        (mine.tokens, other.tokens)
        for head in heads
        for mine, other in zip(answers[head], found[head], strict=True)
    ]
    # A token is compared as far as one of the two answers goes.
    tokens = sum(max(len(mine), len(other)) for mine, other in compared)
    differing = sum(_unequal(mine, other) for mine, other in compared)
    drafts = [tuple(draft) for draft in traced.drafts] * len(heads)
    left = [tuple(mine) != draft for (mine, _), draft in zip(compared, drafts, strict=True)]
    more = {
        "diverged": float(np.mean(left)),
        "tokens": float(np.mean([len(mine) for mine, _ in compared])),
        "close": float(close),
        "base_share": clock.seconds["base"] / bench.all_heads,
        "columns": float(traced.traced.segments[0].mask.shape[-1]),
        "reads": float(traced.traced.segments[0].reads.shape[1]),
    }

    def again() -> float:
        own = Clock(adapter.device)
        with torch.inference_mode(), _ending(adapter, stops), own("fast"):
            _fast_answers(evaluator, traced, heads, prompts)
        own.seconds["prepare"] = clock.seconds["prepare"]
        return _per_head(clock.seconds | own.seconds, len(heads), 0, bench.all_heads)["fast"]

    return Round(seconds, tokens, differing, more, again)


def _fast_answers(
    evaluator: Evaluator, traced: fast.TracedAnswers, heads: Sequence[Head], prompts: plain.Prompts
) -> tuple[dict[Head, list[Answer]], int]:
    """Answers by the fast engine, close calls made again the plain way, and the number of these."""
    adapter = evaluator.adapter
    found = evaluator.fast_results(traced, {head: MeanReplaceHead(*head) for head in heads})
    close = 0
    for head, answers in found.items():
        for row, answer in enumerate(answers):
            if answer.close:
                close += 1
                alone = plain.Prompts([prompts.images[row]], [prompts.texts[row]], None)
                with applied(adapter, MeanReplaceHead(*head)):
                    answers[row] = plain.answers(adapter, alone, traced.max_new_tokens)[0]
    return found, close


def _traced(
    evaluator: Evaluator, chunk: Sequence[Instance]
) -> fast.TracedAnswers | fast_rankings.TracedCandidates:
    """A chunk, prepared without targets; it has to fit into memory."""
    (part,) = evaluator.prepare(chunk, score_targets=False).parts
    return part.traced


@contextmanager
def _ending(adapter: Adapter, stops: Sequence[int]) -> Iterator[None]:
    """More tokens that end an answer."""
    own = adapter.stop_ids
    adapter.stop_ids = [*own, *stops]
    try:
        yield
    finally:
        adapter.stop_ids = own


def _per_head(
    seconds: dict[str, float], heads: int, nnsight_heads: int, all_heads: int
) -> dict[str, float]:
    prepared = seconds["prepare"] / all_heads
    found = {"plain": seconds["plain"] / heads, "fast": prepared + seconds["fast"] / heads}
    if nnsight_heads:
        found["nnsight"] = seconds["nnsight"] / nnsight_heads
    return found


def _unequal(mine: Sequence[int], other: Sequence[int]) -> int:
    """Tokens of two answers that differ, place by place."""
    same = sum(a == b for a, b in zip(mine, other, strict=False))
    return max(len(mine), len(other)) - same


def retrieval_round(bench: Bench, number: int) -> Round:
    """Queries' candidates ranked under one head after the other; seconds of a head.

    Compared are the best candidate and, of every other one, whether it is above the positive.
    nnsight is measured on one batch of candidates; the others are of the same size.
    """
    adapter, plan = bench.adapter, bench.plan
    evaluator = bench.evaluator("retrieval")
    first = plan.queries * number
    items = [bench.samples.of("retrieval", first + query) for query in range(plan.queries)]
    queries = [_query(evaluator, item) for item in items]
    heads, found = bench.heads(plan.retrieval_heads, number), {}
    clock = Clock(adapter.device)

    def run_plain(some: Sequence[Head]) -> None:
        for head in some:
            with clock("plain"), applied(adapter, MeanReplaceHead(*head)):
                found[head] = [plain.ranked(adapter, one, evaluator.batch_size) for one in queries]

    with torch.inference_mode(), _decisive(adapter, queries[0].yes_no, bench.decisive):
        run_plain(heads[::2])
        with clock("prepare"):
            traced = _traced(evaluator, items)
        with clock("fast"):
            rankings, close = _fast_rankings(evaluator, traced, heads, items)
        run_plain(heads[1::2])
        if bench.nnsight:
            some = replace(queries[0], texts=queries[0].texts[: evaluator.batch_size])
            with clock("nnsight"):
                bench.nnsight.margins(heads[len(heads) // 2], some)
            passes = sum(len(query.texts) for query in queries) / len(some.texts)
            clock.seconds["nnsight"] *= passes
    seconds = _per_head(clock.seconds, len(heads), int(bench.nnsight is not None), bench.all_heads)
    pairs = [
        (_order(mine, query), _order(other, query))
        for head in heads
        for mine, other, query in zip(rankings[head], found[head], queries, strict=True)
    ]
    compared = sum(len(mine) for mine, _ in pairs)
    differing = sum(a != b for mine, other in pairs for a, b in zip(mine, other, strict=True))
    columns = sum(segment.real.sum().item() for segment in traced.traced.segments)
    return Round(seconds, compared, differing, {"close": float(close), "columns": float(columns)})


@contextmanager
def _decisive(adapter: Adapter, yes_no: tuple[int, int], factor: float) -> Iterator[None]:
    """The logits of Yes and No multiplied by a factor."""
    rows = adapter.unembedding[list(yes_no)].clone()
    try:
        adapter.unembedding[list(yes_no)] = rows * factor
        adapter._converted = None  # made from the unembedding, and kept
        yield
    finally:
        adapter.unembedding[list(yes_no)] = rows
        adapter._converted = None


def _query(evaluator: Evaluator, item: Instance) -> plain.Query:
    texts = [evaluator.text(item, candidate) for candidate in item.candidates]
    words = (evaluator.task.POSITIVE_WORD, evaluator.task.NEGATIVE_WORD)
    yes, no = (evaluator.adapter.answer_ids(texts[0], word)[0] for word in words)
    return plain.Query(evaluator.images([item])[0], texts, item.positive_index, (yes, no))


def _fast_rankings(
    evaluator: Evaluator,
    traced: fast_rankings.TracedCandidates,
    heads: Sequence[Head],
    items: Sequence[Instance],
) -> tuple[dict[Head, list[Ranked]], int]:
    """Rankings by the fast engine, what they hang on made again the plain way, and how many did."""
    changes = {head: MeanReplaceHead(*head) for head in heads}
    found = evaluator.fast_results(traced, changes)
    close = 0
    for head, rankings in found.items():
        for place, ranking in enumerate(rankings):
            if ranking.close:
                close += 1
                rankings[place] = evaluator.ranked_again(items[place], ranking, changes[head])
    return found, close


def _order(ranking: Ranked, query: plain.Query) -> list[int]:
    """What a ranking decides: the best candidate, and who is above the positive."""
    margins = ranking.margins
    best = max(range(len(margins)), key=margins.__getitem__)
    return [best, *(int(one > margins[query.positive]) for one in margins)]


def one_of_each(bench: Bench, path: str) -> None:
    """An answer and a query under a head of the lowest layer, by one path ('plain', 'fast')."""
    changed = {"changed": MeanReplaceHead(0, 0)}
    for task in ("vqa", "retrieval"):
        evaluator = bench.evaluator(task)
        evaluator.engine, evaluator.max_new_tokens = path, bench.plan.short_tokens
        prepared = evaluator.prepare([bench.samples.of(task, 0)], score_targets=False)
        evaluator.outcomes_under(prepared, changed)
