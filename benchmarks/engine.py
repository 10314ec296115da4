"""The fast engine against the plain path and nnsight, paired in one run.

    PYTHONPATH=. python benchmarks/engine.py [--family llava] [--json] [--quick]
    PYTHONPATH=. python benchmarks/engine.py --device cuda --dtype float16 --shape 7b

Models have random weights (`engine_models.py`) except for the shipped toy. On a CPU: one thread,
process time; on a GPU: wall time until the GPU has finished. Each kind of work is measured in
rounds, each with another sample and other heads, the heads spread evenly over all layers, so that
their mean is that of all heads. A speed-up is the median over rounds of the ratio of mean seconds.

Prints a Markdown table a family, or with `--json` one object with the families "llava",
"qwen2_5_vl", "toy_llava" and "toy_qwen2_5_vl" and for each: `short_answer_speedup`,
`caption_speedup`, `retrieval_speedup`, `neuron_speedup`, `steering_speedup` (a later epoch, the
bank in the upper half of the layers; `steering_all_layers_speedup`: spread over all of them), the
same with `_over_nnsight` (null without nnsight), `bound_share_short_answer` and
`bound_share_neuron` (see `engine_costs.py`), `decisions_compared`, `decisions_differing` and what
goes with them.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
import transformers
from engine_costs import MemoryMeter, bound_share, peak_memory
from engine_heads import generation_round, one_of_each, retrieval_round
from engine_models import SHAPES, build_adapter
from engine_neurons import neuron_round, steering_round
from engine_nnsight import open_nnsight
from engine_toy import ToySamples, load_toy
from engine_work import Bench, Plan, Round, Samples

from hones_core.models.loading import DTYPES

TOY = "toy_"
FAMILIES = ("llava", "qwen2_5_vl", TOY + "llava", TOY + "qwen2_5_vl")
WORKS = {
    "short_answer": "short answers, a head",
    "caption": "captions of 20 tokens, a head",
    "retrieval": "retrieval, a head",
    "neuron": "neuron scores, a head",
    "steering": "steering epoch, bank in the upper half",
    "steering_all_layers": "steering epoch, bank in all layers",
}
PLAN = Plan()
TOY_PLAN = replace(
    PLAN, rows=16, heads=32, caption_tokens=24, short_tokens=24, retrieval_heads=8,
    candidates_at_once=64, queries=6, retrieval_rounds=3, steps=4,
)  # fmt: skip
QUICK_PLAN = Plan(
    rounds=1, heads=4, nnsight_heads=1, caption_tokens=6, candidates=6, candidates_at_once=3,
    retrieval_heads=3, neuron_heads=3, bank=16, steps=1, batch=2,
)  # fmt: skip
DECISIVE = 40.0  # margins of candidates then have a standard deviation of about 1.5
# What all heads of the study would take (METHOD 1): images of the discovery split, and queries.
STUDY = {"short_answer": 2 * 7000, "caption": 7000, "retrieval": 2000}
STUDY_HEADS = 1024


def main() -> None:
    """Measure what the command line asks for and print it."""
    options = parse_options()
    torch.set_num_threads(1)
    families = FAMILIES if options.family is None else (options.family,)
    if options.shape == "7b" and options.family is None:
        families = FAMILIES[:2]
    with tempfile.TemporaryDirectory() as folder:
        if options.memory:
            print(memory_here(open_bench(families[0], options, Path(folder)), options.memory))
            return
        found = {}
        for family in families:
            (Path(folder) / family).mkdir()
            found[family] = measure(family, options, Path(folder) / family)
            if not options.json:
                print(table(family, found[family]), flush=True)
        if options.json:
            print(json.dumps(found))


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--family", choices=FAMILIES, help="one of them only")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: a test, no measurement")
    parser.add_argument("--shape", choices=("bench", "7b"), default="bench")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32")
    parser.add_argument("--rounds", type=int, help="of all kinds of work; default 3, retrieval 1")
    parser.add_argument("--works", nargs="+", choices=list(WORKS), default=list(WORKS))
    parser.add_argument("--without-nnsight", action="store_true")
    parser.add_argument("--memory", choices=("plain", "fast"), help=argparse.SUPPRESS)
    return parser.parse_args()


def open_bench(family: str, options: argparse.Namespace, folder: Path) -> Bench:
    """The model of a family and the work for it."""
    plan = QUICK_PLAN if options.quick else TOY_PLAN if family.startswith(TOY) else PLAN
    if options.rounds:
        plan = replace(plan, rounds=options.rounds, retrieval_rounds=options.rounds)
    if family.startswith(TOY):
        adapter = load_toy(family.removeprefix(TOY), options.device)
        return Bench(adapter, ToySamples(folder, plan.candidates), plan, None, [])
    shape = SHAPES[family]["quick" if options.quick else options.shape]
    adapter = build_adapter(family, shape, options.device, DTYPES[options.dtype])
    samples = Samples(folder, shape.image, plan.candidates)
    # Every fifth word ends a short answer, which so has one to five tokens, its end included.
    stops = list(range(7, len(adapter.tokenizer), 5))
    return Bench(adapter, samples, plan, None, stops, DECISIVE)


def measure(family: str, options: argparse.Namespace, folder: Path) -> dict:
    """All kinds of work; the summary of a family."""
    bench = open_bench(family, options, folder)
    said = "not measured: --without-nnsight"
    if not options.without_nnsight:
        bench.nnsight, said = open_nnsight(bench.adapter)
    found: dict = {"environment": environment(bench, options, said)}
    rounds = {name: run_rounds(bench, name, found) for name in options.works}
    for name, own in rounds.items():
        found |= summary(name, own)
    found["decisions_compared"] = sum(one.compared for own in rounds.values() for one in own)
    found["decisions_differing"] = sum(one.differing for own in rounds.values() for one in own)
    for path in () if options.quick else ("plain", "fast"):
        found[f"peak_memory_mb_{path}"] = round(memory_of(bench, family, path) / 1e6, 1)
    if options.device != "cpu":
        found["projected_gpu_hours"] = projection(found)
    return found


def run_rounds(bench: Bench, name: str, found: dict) -> list[Round]:
    """All rounds of one kind of work; those with a bound compare with it."""
    plan, half = bench.plan, bench.adapter.n_layers // 2
    works: dict[str, Callable[[Bench, int], Round]] = {
        "short_answer": lambda bench, number: generation_round(bench, "vqa", number),
        "caption": lambda bench, number: generation_round(bench, "caption", number),
        "retrieval": retrieval_round,
        "neuron": neuron_round,
        "steering": lambda bench, number: steering_round(bench, number, half),
        "steering_all_layers": lambda bench, number: steering_round(bench, number, 0),
    }
    rounds = plan.retrieval_rounds if name == "retrieval" else plan.rounds
    if name != "retrieval" or bench.adapter.device.type == "cuda":
        few = {"heads": 2, "nnsight_heads": 1, "retrieval_heads": 1, "neuron_heads": 1, "steps": 1}
        works[name](replace(bench, plan=replace(plan, **few)), rounds)  # warms up
    bounded = {"short_answer": plan.heads, "neuron": plan.neuron_heads}
    if name not in bounded:
        return [works[name](bench, number) for number in range(rounds)]
    done, shares = [], []
    for number in range(rounds):
        one = works[name](bench, number)
        heads = bench.heads(bounded[name], number)
        shares.append(bound_share(bench.adapter, heads, plan.rows, one))
        done.append(one)
    found[f"bound_share_{name}"] = round(statistics.median(shares), 3)
    return done


def summary(name: str, rounds: Sequence[Round]) -> dict:
    """Medians over the rounds: speed-ups, seconds, and what else was noted."""

    def ratio(over: str, under: str = "fast") -> list[float]:
        return [one.seconds[over] / one.seconds[under] for one in rounds if over in one.seconds]

    found = {f"{name}_speedup": round(statistics.median(ratio("plain")), 2)}
    found[f"{name}_speedup_range"] = [round(f(ratio("plain")), 2) for f in (min, max)]
    nnsight = ratio("nnsight")
    over = round(statistics.median(nnsight), 2) if nnsight else None
    found[f"{name}_speedup_over_nnsight"] = over
    if "filling" in rounds[0].seconds:
        first = statistics.median(ratio("plain", "filling"))
        found[f"{name}_first_epoch_speedup"] = round(first, 2)
    found[f"{name}_seconds"] = {
        part: round(statistics.median([one.seconds[part] for one in rounds]), 4)
        for part in rounds[0].seconds
    }
    found[f"{name}_notes"] = {
        part: round(statistics.mean([one.more[part] for one in rounds]), 9)
        for part in rounds[0].more
    }
    return found


def projection(found: dict) -> dict[str, dict[str, float]]:
    """GPU-hours of all heads on the study's discovery split; short answers are VQA and OCR."""
    return {
        path: {
            name: round(found[f"{name}_seconds"][path] * samples * STUDY_HEADS / 3600, 1)
            for name, samples in STUDY.items()
            if f"{name}_seconds" in found
        }
        for path in ("plain", "fast")
    }


def memory_of(bench: Bench, family: str, path: str) -> int:
    """Bytes that one path takes beyond the loaded model for an answer and for a query.

    On a CPU in a process of its own, whose memory nothing else has stretched.
    """
    if bench.adapter.device.type == "cuda":
        return memory_here(bench, path)
    return peak_memory([*sys.argv[1:], "--family", family], path)


def memory_here(bench: Bench, path: str) -> int:
    """As `memory_of`, in this process."""
    meter = MemoryMeter(bench.adapter.device)
    one_of_each(bench, path)
    return meter.grown()


def environment(bench: Bench, options: argparse.Namespace, nnsight: str) -> dict:
    """Where and with what this was measured."""
    gpu = torch.cuda.get_device_name() if bench.adapter.device.type == "cuda" else None
    return {
        "device": gpu or processor(),
        "threads": torch.get_num_threads(),
        "dtype": str(bench.adapter.dtype).removeprefix("torch."),
        "shape": "quick" if options.quick else options.shape,
        "rows": bench.plan.rows,
        "rounds": bench.plan.rounds,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "nnsight": nnsight,
    }


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(family: str, found: dict) -> str:
    """The family's Markdown table."""
    lines = [
        f"\n**{family}**\n",
        "| work | plain | nnsight | fast | speed-up | over nnsight |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, text in WORKS.items():
        if f"{name}_speedup" not in found:
            continue
        seconds, low_high = found[f"{name}_seconds"], found[f"{name}_speedup_range"]
        cells = [
            f"{seconds[p]:.3f} s" if p in seconds else "–" for p in ("plain", "nnsight", "fast")
        ]
        over = found[f"{name}_speedup_over_nnsight"]
        spread = f"{found[f'{name}_speedup']:.2f} ({low_high[0]:.2f}–{low_high[1]:.2f})"
        lines.append(f"| {text} | {' | '.join(cells)} | {spread} | {over or '–'} |")
    rest = {name: value for name, value in found.items() if name not in _in_table(found)}
    return "\n".join([*lines, "", *(f"- {name}: {value}" for name, value in rest.items())])


def _in_table(found: dict) -> set[str]:
    ends = ("_speedup", "_speedup_range", "_speedup_over_nnsight", "_seconds")
    return {name for name in found if name.endswith(ends) and "first_epoch" not in name}


if __name__ == "__main__":
    main()
