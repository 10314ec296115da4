"""What is done when memory runs out all the same: less at once, then fewer samples at a time.

Nothing that is computed depends on it. A failed attempt leaves nothing behind: the engine's hooks
are context managers, its caches local to the call, and its tensors are let go before the next one.
"""

import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Generic, TypeVar

import torch

from hones_core.engine.at_once import Limits
from hones_core.engine.budget import ANSWERS, CANDIDATES, PEAKS, Sizes
from hones_core.engine.free_memory import free_bytes
from hones_core.engine.shapes import shape_of
from hones_core.tasks.instances import Instance

Result = TypeVar("Result")
Sample = TypeVar("Sample")  # an instance, or those that are asked about one image
# How torch says it on a CPU, where it raises RuntimeError.
CPU_MESSAGES = ("can't allocate memory", "not enough memory")


class NotEnoughMemoryError(RuntimeError):
    """One instance alone does not fit."""


@dataclass
class Part(Generic[Sample]):
    """Samples that were traced together."""

    samples: Sequence[Sample]
    traced: Any


def trace_parts(
    evaluator: Any, samples: Sequence[Sample], trace: Callable[[Sequence[Sample]], Any]
) -> list[Part[Sample]]:
    """The samples traced, all together or, where memory runs out, in halves of halves.

    Later chunks are then divided from the start: `evaluator.fitting` remembers how many fit.
    Raises NotEnoughMemoryError for a sample that does not fit alone.
    """
    waiting = _divided(samples, evaluator.fitting)
    parts: list[Part[Sample]] = []
    while waiting:
        some = waiting.pop(0)
        traced, problem = _attempt(partial(trace, some))
        if problem is None:
            parts.append(Part(some, traced))
            continue
        waiting = _halves(evaluator, some, problem) + waiting
    return parts


def run_parts(
    evaluator: Any,
    parts: list[Part[Sample]],
    run: Callable[[Part[Sample]], Result],
    trace: Callable[[Sequence[Sample]], Any],
    interventions: int,
) -> list[Result]:
    """`run` of every part; a part that does not fit is run again with less at once.

    First `evaluator.limits.copies` is halved, then `decode_rows`, both for good; then the part is
    traced anew in two halves, which take its place in `parts`. Raises NotEnoughMemoryError for a
    sample that does not fit alone.
    """
    found: list[Result] = []
    while len(found) < len(parts):
        part = parts[len(found)]
        result, problem = _attempt(partial(run, part))
        if problem is None:
            found.append(result)
            continue
        count = len(_instances(part.samples))
        lower = lowered(evaluator.limits, count, interventions, evaluator.decodes)
        if lower is not None:
            evaluator.limits = lower
            _say(problem, f"{lower.copies} interventions and {lower.decode_rows} decoded rows")
            continue
        place, samples = len(found), part.samples
        part.traced = None  # the halves need its room
        del part, parts[place]
        halves = _halves(evaluator, samples, problem)
        parts[place:place] = [new for half in halves for new in trace_parts(evaluator, half, trace)]
    return found


def run_in_halves(
    evaluator: Any,
    instances: Sequence[Instance],
    run: Callable[[Sequence[Instance]], Result],
    interventions: int,
) -> list[Result]:
    """`run` of the instances, together or in parts: the results of the parts, in order.

    For work that traces and runs in one go and decodes nothing. Where memory runs out,
    `evaluator.limits.copies` is halved first, for good, then the instances. Raises
    NotEnoughMemoryError for an instance that does not fit alone.
    """
    waiting = _divided(instances, evaluator.fitting)
    done: list[Result] = []
    while waiting:
        some = waiting.pop(0)
        result, problem = _attempt(partial(run, some))
        if problem is None:
            done.append(result)
            continue
        lower = lowered(evaluator.limits, len(some), interventions, decodes=False)
        if lower is not None:
            evaluator.limits = lower
            _say(problem, f"{lower.copies} interventions")
            waiting.insert(0, some)
        else:
            waiting = _halves(evaluator, some, problem) + waiting
    return done


def most_that_fit(size: int, run: Callable[[int], Result], what: str) -> tuple[Result, int]:
    """`run` of `size` at once or, where memory runs out, of half as many, and how many that were.

    Raises NotEnoughMemoryError if one at a time is too many.
    """
    while True:
        result, problem = _attempt(partial(run, size))
        if problem is None:
            return result, size
        if size == 1:
            raise NotEnoughMemoryError(
                f"one of the {what} alone does not fit into memory: use a device with more of it, "
                f"or set the model's dtype to float16 ({problem.splitlines()[0]})"
            )
        size = -(-size // 2)
        _say(problem, f"{size} {what}")


def lowered(limits: Limits, samples: int, interventions: int, decodes: bool) -> Limits | None:
    """The next lower limits that make a difference for so many samples and interventions."""
    copies = min(limits.copies, interventions)
    if copies > 1:
        return replace(limits, copies=copies // 2)
    rows = min(limits.decode_rows, samples * interventions)
    if decodes and rows > 1:
        return replace(limits, decode_rows=rows // 2)
    return None


def _attempt(run: Callable[[], Result]) -> tuple[Any, str | None]:
    """The result, or what was said when memory ran out; by then all of the attempt is let go."""
    try:
        return run(), None
    except RuntimeError as error:  # which torch.OutOfMemoryError is
        message = str(error)
        known = isinstance(error, torch.OutOfMemoryError)
        if not known and not any(text in message for text in CPU_MESSAGES):
            raise
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None, message


def _halves(evaluator: Any, samples: Sequence[Sample], problem: str) -> list[Sequence[Sample]]:
    """Two halves, each of which may still be too large; NotEnoughMemoryError for one sample."""
    if len(samples) == 1:
        raise NotEnoughMemoryError(_alone(evaluator, _instances(samples), problem))
    size = -(-len(samples) // 2)
    evaluator.fitting = size
    _say(problem, f"{size} samples")
    return _divided(samples, size)


def _divided(samples: Sequence[Sample], size: int | None) -> list[Sequence[Sample]]:
    size = size or len(samples)
    return [samples[start : start + size] for start in range(0, len(samples), size)]


def _instances(samples: Sequence[Any]) -> list[Instance]:
    """Those of samples, each of which is one or a list of them."""
    lists = [[sample] if isinstance(sample, Instance) else sample for sample in samples]
    return [one for own in lists for one in own]


def _say(problem: str, now: str) -> None:
    line = problem.splitlines()[0] if problem else "no memory"
    print(f"out of memory: from here on {now} at once ({line})", file=sys.stderr, flush=True)


def _alone(evaluator: Any, instances: Sequence[Instance], problem: str) -> str:
    """What is wrong with one sample, in numbers, and what to do."""
    adapter = evaluator.adapter
    work = ANSWERS if evaluator.decodes else CANDIDATES
    sizes = Sizes(candidate_rows=evaluator.limits.candidate_rows)
    lengths = evaluator.lengths(instances)
    needed = PEAKS[work](shape_of(adapter), lengths, sizes)
    free = " and ".join(f"{free_bytes(one) / 1e9:.3g} GB of {one}" for one in adapter.devices)
    names = " and ".join(repr(one.instance_id) for one in instances)
    who, tokens, apart = f"instance {names} does", f"its {lengths.prompt} prompt tokens need", ""
    if len(instances) > 1:
        who = f"instances {names}, about image {instances[0].image!r}, do"
        tokens = f"their {lengths.columns} tokens in one row need"
        apart = ", measure their tasks apart (heads.joint_tasks: [])"
    return (
        f"{who} not fit into memory even alone, with one intervention and one decoded row at a "
        f"time: {tokens} about {needed / 1e9:.3g} GB beside the model, {free} are free. End what "
        f"else runs there{apart}, use a device with more memory, or set the model's dtype to "
        f"float16 ({problem.splitlines()[0] if problem else 'torch'})"
    )
