"""What is in an artifact: `python -m hones_core.inspect results/toy/llava/overlap_groups.parquet`.

Prints what the file is, its columns with unit and meaning, how many rows each value of the key's
first columns has, what it was made by, and its first rows. Needs neither the model nor the run's
configuration. A damaged file, or one that is no artifact, is said to be so.
"""

import argparse
import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hones_core import artifacts
from hones_core.docs import all_schemas

MOST_VALUES = 12  # of a key column, whose rows are counted


def describe(path: str | Path, rows: int = 5, code: bool = False) -> str:
    """The artifact at `path` in words and tables, with its first `rows`.

    `code` also lists the digest of every module it was made by. Raises ArtifactError if the file is
    missing, damaged or no artifact.
    """
    metadata = _metadata(path)
    declared = {schema.name: schema for schema in all_schemas()}.get(metadata["hones_schema"])
    if declared is None:
        raise artifacts.ArtifactError(
            f"{path} holds {metadata['hones_schema']!r}, which this version does not know; read it "
            "with the version that wrote it"
        )
    frame = artifacts.read(path, declared)
    parts = [
        f"{declared.name} (version {declared.version}): {declared.meaning}",
        f"{len(frame):,} rows, {Path(path).stat().st_size:,} bytes; made by rule {declared.rule}; "
        f"key: {', '.join(declared.key)}",
        _columns(declared),
        _counts(frame, declared),
        _provenance(json.loads(metadata["hones_provenance"]), code),
        f"First {min(rows, len(frame))} rows:\n{_preview(frame, rows)}",
    ]
    return "\n\n".join(part for part in parts if part)


def _metadata(path: str | Path) -> dict[str, str]:
    try:
        stored = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise artifacts.ArtifactError(f"{path} is missing") from None
    except (pa.ArrowException, OSError) as error:
        raise artifacts.ArtifactError(f"{path} is not a readable parquet file ({error})") from error
    found = {key.decode(): value.decode() for key, value in stored.items() if key[:5] == b"hones"}
    if "hones_schema" not in found:
        raise artifacts.ArtifactError(f"{path} is a parquet file, but no HONES artifact")
    return found


def _columns(schema: artifacts.Schema) -> str:
    rows = [
        {
            "column": column.name,
            "type": column.type,
            "unit": column.unit,
            "meaning": column.meaning + (" (may be NaN)" if column.nan else ""),
        }
        for column in schema.columns
    ]
    return _table(pd.DataFrame(rows))


def _counts(frame: pd.DataFrame, schema: artifacts.Schema) -> str:
    """Rows for each value of the key columns that have few values."""
    lines = []
    for name in schema.key:
        counts = frame[name].value_counts(sort=False)
        if 1 < len(counts) <= MOST_VALUES and counts.max() > 1:
            shown = ", ".join(f"{value} {count:,}" for value, count in counts.items())
            lines.append(f"  {name}: {shown}")
    return "\n".join(["Rows by key:", *lines]) if lines else ""


def _provenance(made_by: dict, code: bool) -> str:
    lines = ["Made by:"]
    for name in ("rule", "wildcards", "config", "generation", "versions"):
        if made_by.get(name):
            value = made_by[name]
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(f"  {name}: {text}")
    digests = made_by.get("code", {})
    lines.append(f"  code: {len(digests)} files" + ("" if code else " (--code lists them)"))
    if code:
        lines += [f"    {name} {digest}" for name, digest in digests.items()]
    return "\n".join(lines)


def _preview(frame: pd.DataFrame, rows: int) -> str:
    return _table(frame.head(rows)) if len(frame) else "(none)"


def _table(frame: pd.DataFrame) -> str:
    with pd.option_context("display.max_colwidth", 90, "display.width", 10_000):
        return frame.to_string(index=False, max_cols=None, justify="left")


def main(arguments: list[str] | None = None) -> int:
    """The command line; 0, or 1 with a line that says what is wrong."""
    parser = argparse.ArgumentParser(prog="python -m hones_core.inspect", description=__doc__)
    parser.add_argument("path", nargs="+", help="parquet files of a run")
    parser.add_argument("--rows", type=int, default=5, help="rows to show (default 5)")
    parser.add_argument("--code", action="store_true", help="list the modules it was made by")
    chosen = parser.parse_args(arguments)
    try:
        print("\n\n".join(describe(path, chosen.rows, chosen.code) for path in chosen.path))
    except artifacts.ArtifactError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
