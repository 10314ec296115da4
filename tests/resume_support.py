"""The long jobs on a tiny model, as a process that may be killed can run them."""

import os
import signal
import sys
from pathlib import Path

from model_support import make_instances

from hones_core import artifacts
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.engine.evaluate import Evaluator
from hones_core.heads import measure_head_effects
from hones_core.masking import predict_masked
from hones_core.models import load_model
from hones_core.partial import Parts
from hones_core.schemas.heads import HEAD_EFFECTS
from hones_core.schemas.masking import MASKED_PREDICTIONS
from hones_core.schemas.neurons import NEURON_EFFECTS

SETS = {("a", 0): frozenset([(0, 1), (1, 5)]), ("b", 0): frozenset([(0, 4)]), ("b", 1): frozenset()}
N_CHUNKS = 4


def heads(evaluator, instances, parts):
    return measure_head_effects(evaluator, instances, parts=parts), HEAD_EFFECTS


def neurons(evaluator, instances, parts):
    places = [(0, 1), (1, 3)]
    return measure_neuron_effects(
        evaluator, instances, instances, places, parts=parts
    ), NEURON_EFFECTS


def masking(evaluator, instances, parts):
    frame = predict_masked(evaluator, instances, SETS, ("ranker", "seed"), parts)
    return frame.assign(n_nonzero=48), MASKED_PREDICTIONS


JOBS = {"heads": heads, "neurons": neurons, "masking": masking}


def instances_of(evaluator: Evaluator):
    """One less than what four chunks of two hold."""
    return make_instances(evaluator.task_name, 2 * N_CHUNKS - 1)


class Stopped(Exception):
    """What the n-th chunk meets."""


def stop() -> None:
    raise Stopped


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(job: str, evaluator: Evaluator, output: Path, key=None, chunks=N_CHUNKS, end=stop) -> int:
    """Run a job, until it has begun `chunks` chunks and one more; returns how many it began.

    The artifact is written to `output`, the parts lie beside it.
    """
    begun = 0
    encode = evaluator.encode

    def counted(*arguments):
        nonlocal begun
        if begun == chunks:
            end()
        begun += 1
        return encode(*arguments)

    parts = Parts(output.with_suffix(".partial"), key, every_seconds=0)
    evaluator.encode = counted
    try:
        frame, schema = JOBS[job](evaluator, instances_of(evaluator), parts)
    finally:
        evaluator.encode = encode
    artifacts.write(output, frame, schema, {})
    parts.remove()
    return begun


if __name__ == "__main__":
    job, model, images, output, chunks = sys.argv[1:]
    adapter = load_model(model, "llava", device="cpu")
    evaluator = Evaluator(adapter, "ocr", images, 2, 6)
    run(job, evaluator, Path(output), chunks=int(chunks), end=kill)
