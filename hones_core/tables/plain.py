"""Small tables as they are: one Markdown row a row, beside parquet and CSV."""

import math
from pathlib import Path
from typing import Any

import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.atomic import write_text
from hones_core.tables.render import NOTHING

MOST_DECIMALS = 2  # in Markdown; parquet and CSV have all of them


def write_plain_table(
    frame: pd.DataFrame,
    schema: Schema,
    stem: str | Path,
    provenance: dict[str, Any] | None = None,
    decimals: int = MOST_DECIMALS,
) -> None:
    """Write `frame` as `stem`.parquet (checked against `schema`), .csv and .md, each atomically.

    `decimals` are the most that the Markdown shows.
    Raises ArtifactError if the frame breaks the schema; nothing is written then.
    """
    artifacts.write(f"{stem}.parquet", frame, schema, provenance)
    csv = frame[schema.names].to_csv(index=False, lineterminator="\n")
    write_text(Path(f"{stem}.csv"), csv)
    write_text(Path(f"{stem}.md"), plain_markdown(frame, schema, decimals))


def plain_markdown(frame: pd.DataFrame, schema: Schema, decimals: int = MOST_DECIMALS) -> str:
    """The table as Markdown: what it is, a line for each row, and what each column means."""
    names = schema.names
    lines = [names, ["---"] * len(names)]
    lines += [
        [_cell(value, decimals) for value in row] for row in frame[names].itertuples(index=False)
    ]
    meanings = [
        f"- {column.name}: {column.meaning}" + (f", in {column.unit}" if column.unit else "")
        for column in schema.columns
    ]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return "\n\n".join([schema.meaning, table, "\n".join(meanings)]) + "\n"


def _cell(value: object, decimals: int) -> str:
    if isinstance(value, float):
        if math.isnan(value):
            return NOTHING
        rounded = round(value, decimals) + 0.0  # + 0.0: no "-0"
        return f"{rounded:.{decimals}f}".rstrip("0").rstrip(".")
    return str(value).replace("|", r"\|").replace("\n", " ")
