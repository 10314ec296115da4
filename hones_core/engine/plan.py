"""Print what a configuration will cost: `python -m hones_core.engine.plan --config FILE`.

For every model, stage and task: tokens of a sample, token-layers, chunk sizes, peak memory, hours.
Works offline and without weights; what it assumes is printed with it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

import yaml

from hones_core.engine import projection, workload
from hones_core.engine.projection import Row, Speed
from hones_core.engine.sizing import SHARES
from hones_core.settings import Settings, SettingsError, load_settings

# The makers' peaks: operations per second in half precision and in float32, bytes per second.
GPUS = {
    "v100": (125e12, 15.7e12, 0.9e12),
    "a100": (312e12, 19.5e12, 2.0e12),
    "h100": (989e12, 67e12, 3.35e12),
}
UTILISATION, BANDWIDTH_SHARE = 0.5, 0.7  # of these peaks, reached by large products, long copies

_HEAD = (
    f"{'stage':<17}{'task':<10}{'samples':>8}{'interv.':>8}{'tokens':>7}"
    f"{'plain':>10}{'fast':>9}{'least':>9}{'at once':>13}{'GB':>7}{'hours':>9}{'shard':>8}"
)


def read_settings(base: str, overlays: Sequence[str]) -> Settings:
    """The configuration as Snakemake reads it: dictionaries merged key by key, others replaced.

    Raises SettingsError for a file that is not YAML, and for settings that cannot be run.
    """
    config: dict = {}
    for path in (base, *overlays):
        _lay_over(config, _keys_of(Path(path)))
    return load_settings(config, (base, *overlays))


def _keys_of(path: Path) -> dict:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {error}; correct the file") from error
    if not isinstance(found, dict):
        raise SettingsError(f"{path} holds a {type(found).__name__} where keys are expected")
    return found


def speeds(gpu: str, token_layers: float | None) -> dict[int, Speed]:
    """By the bytes of a number; `token_layers` per second, if measured, replaces the operations."""
    half, full, bandwidth = GPUS[gpu]
    return {
        size: Speed(peak * UTILISATION, bandwidth * BANDWIDTH_SHARE, token_layers)
        for size, peak in ((2, half), (4, full))
    }


def table(rows: Sequence[Row], memory_gb: float) -> str:
    """The plan for people; a mark where a stage needs more than there is."""
    lines = []
    for model, group in groupby(rows, key=lambda row: row.model):
        lines += [model, _HEAD]
        own = list(group)
        lines += [_line(row) for row in own]
        lines += [*_totals(own), *_notes(own, memory_gb), ""]
    return "\n".join(lines)


def assumptions(args: argparse.Namespace) -> str:
    """What the figures rest on."""
    half, full, bandwidth = GPUS[args.gpu]
    rate = (
        f"{args.token_layers_per_second:g} token-layers per second, as given"
        if args.token_layers_per_second
        else f"{UTILISATION:.0%} of {half / 1e12:g} (half precision) or {full / 1e12:g} (float32) "
        "TFLOP/s"
    )
    leaving = ", ".join(f"{task} {share:.0%}" for task, share in workload.LEAVING.items() if share)
    return (
        f"Assumed ({args.gpu}): {rate}; decoding reads all weights in each step at "
        f"{BANDWIDTH_SHARE:.0%} of {bandwidth / 1e9:g} GB/s; under an intervention "
        f"{leaving} of the answers leave their draft; sets of neurons begin in the first layer.\n"
        "tokens: prompt with draft and target (retrieval: prefix and all candidates). plain, fast, "
        "least: thousand token-layers of a sample by the plain path, by the fast engine, and what "
        "an exact method cannot leave out. at once: samples x interventions (decoded rows). GB: "
        f"peak with weights, planned with {SHARES['cuda']:.0%} of what they leave. hours: of all "
        f"samples on one GPU by the engine; shard: of one of {args.shards} jobs.\n"
    )


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hones_core.engine.plan", description=__doc__)
    parser.add_argument("--base", default="config.yaml", help="the default configuration")
    parser.add_argument("--config", nargs="*", default=[], help="overlays, in order")
    parser.add_argument("--memory-gb", type=float, default=32.0, help="of one GPU, 1e9 bytes")
    parser.add_argument("--gpu", choices=sorted(GPUS), default="v100")
    parser.add_argument("--token-layers-per-second", type=float, help="measured; replaces --gpu's")
    parser.add_argument("--shards", type=int, default=1, help="jobs that share a stage of a task")
    parser.add_argument("--json", action="store_true", help="one object instead of tables")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the plan; returns the exit status."""
    args = parse(arguments)
    try:
        settings = read_settings(args.base, args.config)
        speed = speeds(args.gpu, args.token_layers_per_second)
        rows = projection.rows(settings, args.memory_gb, speed, args.shards)
    except (SettingsError, OSError) as error:
        print(f"no plan: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps({"assumptions": assumptions(args), "rows": [asdict(r) for r in rows]}))
    else:
        print(assumptions(args))
        print(table(rows, args.memory_gb))
    return 0


def _line(row: Row) -> str:
    at_once = f"{row.samples_at_once} x {row.interventions_at_once}"
    if row.decode_rows > 1:
        at_once += f" ({row.decode_rows})"
    layers = (row.plain_token_layers, row.fast_token_layers, row.least_token_layers)
    thousands = "".join(
        f"{value / 1e3:>{width}.0f}" for value, width in zip(layers, (10, 9, 9), strict=True)
    )
    return (
        f"{row.stage:<17}{row.task:<10}{row.samples:>8}{row.interventions:>8}{row.tokens:>7}"
        f"{thousands}{at_once:>13}{row.peak_gb:>6.1f}{' ' if row.fits else '!'}"
        f"{row.fast_hours:>9.2f}{row.shard_hours:>8.2f}"
    )


def _totals(rows: Sequence[Row]) -> list[str]:
    lines = []
    for stage, group in groupby(rows, key=lambda row: row.stage):
        own = list(group)
        fast, plain, released = (
            sum(getattr(row, f"{name}_hours") for row in own)
            for name in ("fast", "plain", "released")
        )
        published = f"; the released algorithm: {released:.0f}" if released else ""
        lines.append(f"{stage}: {fast:.1f} hours; the plain path: {plain:.0f}{published}")
    lines.append(f"all stages: {sum(row.fast_hours for row in rows):.1f} hours")
    return lines


def _notes(rows: Sequence[Row], memory_gb: float) -> list[str]:
    cached = max(rows, key=lambda row: row.main_memory_gb)
    lines = [
        f"steering keeps up to {cached.main_memory_gb:.1f} GB of states in main memory "
        f"({cached.task})"
    ]
    over = [f"{row.stage} of {row.task}" for row in rows if not row.fits]
    if over:
        lines.append(f"! may not fit into {memory_gb:g} GB: {', '.join(over)}")
    return lines


def _lay_over(config: dict, overlay: dict) -> None:
    for key, value in overlay.items():
        if isinstance(value, dict) and isinstance(config.get(key), dict):
            _lay_over(config[key], value)
        else:
            config[key] = value


if __name__ == "__main__":
    sys.exit(main())
