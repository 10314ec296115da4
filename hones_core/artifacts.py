"""Parquet artifacts: declared schemas, atomic and byte-deterministic writing, checked reading.

Every artifact of the workflow goes through `write` and `read`. A file carries its own description:
schema name and version, the meaning and unit of every column, and the provenance of the run that
made it (no clock, host, user or commit, so that equal inputs give equal bytes). It ends with a
digest of all its bytes, so that a damaged file is never taken for data.
"""

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hones_core.atomic import written_atomically

TYPES: dict[str, pa.DataType] = {
    "int64": pa.int64(),
    "int32": pa.int32(),
    "float64": pa.float64(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "list<string>": pa.list_(pa.string()),
    "list<int64>": pa.list_(pa.int64()),
    "list<float64>": pa.list_(pa.float64()),
    "list<float32>": pa.list_(pa.float32()),
}

ROW_GROUP = 1 << 20  # rows that are stored, and skipped, together

_DIGEST_KEY = "hones_sha256"
_UNSEALED = "0" * 64
# The key and its value as Parquet's footer has them: a string field of 64 bytes follows.
_SEAL = re.compile(_DIGEST_KEY.encode() + rb"\x18\x40([0-9a-f]{64})")


class ArtifactError(Exception):
    """An artifact that is missing, damaged or not what its schema declares."""


@dataclass(frozen=True)
class Column:
    """One column: its name, type (a key of TYPES), unit ("" if it has none) and meaning.

    `nan` allows NaN, for values that are undefined for some rows; `meaning` then says when.
    """

    name: str
    type: str
    unit: str
    meaning: str
    nan: bool = False


@dataclass(frozen=True)
class Schema:
    """What one kind of artifact holds.

    `rule` is the Snakemake rule that makes it, `key` the columns that identify a row; rows are
    stored in the order of the key.
    """

    name: str
    version: int
    rule: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def names(self) -> list[str]:
        """Column names in their stored order."""
        return [column.name for column in self.columns]

    def arrow(self) -> pa.Schema:
        """The Arrow schema, with unit and meaning as field metadata."""
        return pa.schema(
            pa.field(
                column.name,
                TYPES[column.type],
                nullable=False,
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in self.columns
        )


def write(
    path: str | Path, frame: pd.DataFrame, schema: Schema, provenance: dict[str, Any] | None = None
) -> None:
    """Check `frame` against `schema` and write it to `path`, atomically and deterministically.

    `provenance` is any JSON-serialisable mapping (parameters, code digest, versions, seeds).
    Raises ArtifactError when a column is missing or superfluous, a value is null or an unallowed
    NaN, or the key is not unique; nothing is written then.
    """
    table = _checked_table(frame, schema)
    metadata = {
        "hones_schema": schema.name,
        "hones_schema_version": str(schema.version),
        "hones_rule": schema.rule,
        "hones_meaning": schema.meaning,
        "hones_provenance": json.dumps(provenance or {}, sort_keys=True, ensure_ascii=False),
    }
    table = table.replace_schema_metadata(metadata)
    with written_atomically(path) as temporary:
        with pq.ParquetWriter(temporary, table.schema, compression="zstd") as writer:
            writer.write_table(table, row_group_size=ROW_GROUP)
            writer.add_key_value_metadata({_DIGEST_KEY: _UNSEALED})
        temporary.write_bytes(_sealed(temporary.read_bytes()))


def read(
    path: str | Path, schema: Schema, where: Mapping[str, str | int | bool] | None = None
) -> pd.DataFrame:
    """Read the artifact at `path`, after checking that it is whole and what `schema` declares.

    `where` asks for the rows alone that have these values, {column: value}; the file is checked all
    the same. Raises ArtifactError that names the file and the command that makes it again, or a
    column of `where` that `schema` does not declare.
    """
    undeclared = sorted(set(where or {}) - set(schema.names))
    if undeclared:
        raise ArtifactError(f"{schema.name} has no columns {undeclared}; it has {schema.names}")
    remedy = make_again(schema, path)
    if Path(path).is_dir():  # pyarrow would read all parquet files in it as one table
        raise ArtifactError(f"{path} is a folder, not a parquet file; remove it and {remedy}")
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; {remedy}") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}); {remedy}") from error
    if _SEAL.search(content) and _sealed(content) != content:
        raise ArtifactError(f"{path} is damaged: its bytes are not those written; {remedy}")
    try:
        stored = pq.read_schema(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        said = " ".join(str(error).split())
        raise ArtifactError(f"{path} is not a readable parquet file ({said}); {remedy}") from error
    found = _identity(stored)
    if found != (schema.name, str(schema.version)):
        raise ArtifactError(
            f"{path} holds {found[0]} version {found[1]}, "
            f"but {schema.name} version {schema.version} is expected; {remedy}"
        )
    if not _SEAL.search(content):
        raise ArtifactError(f"{path} has no digest of its bytes; {remedy}")
    if not stored.equals(schema.arrow(), check_metadata=False):
        raise ArtifactError(f"{path} has columns {stored.names}, not {schema.names}; {remedy}")
    filters = [(column, "==", value) for column, value in (where or {}).items()]
    return pq.read_table(pa.BufferReader(content), filters=filters or None).to_pandas()


def make_again(schema: Schema, *paths: str | Path) -> str:
    """The command that makes artifacts again and nothing else, as the end of an error.

    What follows them stays if their bytes are the old ones: Snakemake compares them in its next
    run. `--forcerun` of the rule would make everything anew that follows, in the same run.
    """
    files = shlex.join(str(path) for path in paths)
    return (
        f"make again what rule {schema.rule} made: snakemake --cores 1 --force {files} (and the "
        "other options of your run), then go on as before"
    )


def provenance(path: str | Path) -> dict[str, Any]:
    """The provenance that was stored with the artifact at `path`."""
    metadata = pq.read_schema(path).metadata or {}
    return json.loads(metadata.get(b"hones_provenance", b"{}"))


def _sealed(content: bytes) -> bytes:
    """The file's bytes with the digest of all of them, taken with zeros in its own place."""
    seal = _SEAL.search(content)
    assert seal is not None, "the writer puts it there"
    start, end = seal.span(1)
    digest = hashlib.sha256(content[:start])
    digest.update(_UNSEALED.encode())
    digest.update(content[end:])
    return content[:start] + digest.hexdigest().encode() + content[end:]


def _identity(stored: pa.Schema) -> tuple[str, str]:
    metadata = stored.metadata or {}
    marks = (b"hones_schema", b"no HONES artifact"), (b"hones_schema_version", b"0")
    name, version = (metadata.get(*mark).decode(errors="replace") for mark in marks)
    return name, version


def _checked_table(frame: pd.DataFrame, schema: Schema) -> pa.Table:
    """`frame` as an Arrow table in key order; ArtifactError when it breaks the schema."""
    if set(frame.columns) != set(schema.names):
        missing = sorted(set(schema.names) - set(frame.columns))
        extra = sorted(set(frame.columns) - set(schema.names))
        raise ArtifactError(f"{schema.name}: missing columns {missing}, undeclared columns {extra}")
    key = list(schema.key)
    repeated = frame.duplicated(subset=key)
    if repeated.any():
        example = frame.loc[repeated, key].iloc[0].to_dict()
        raise ArtifactError(
            f"{schema.name}: {int(repeated.sum())} repeated keys, such as {example}"
        )
    ordered = frame.sort_values(key, kind="stable")[schema.names]
    arrays = [_checked_array(ordered, column, schema) for column in schema.columns]
    return pa.Table.from_arrays(arrays, schema=schema.arrow())


def _checked_array(frame: pd.DataFrame, column: Column, schema: Schema) -> pa.Array:
    values = frame[column.name]
    if column.type.startswith("float") and not column.nan:
        _refuse(values.isna().to_numpy(), frame, column, schema, "NaN")
    try:
        array = pa.array(values.to_numpy(), type=TYPES[column.type], from_pandas=not column.nan)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ArtifactError(f"{schema.name}.{column.name} is not {column.type}: {error}") from error
    _refuse(np.asarray(array.is_null()), frame, column, schema, "null")
    return array


def _refuse(
    bad: np.ndarray, frame: pd.DataFrame, column: Column, schema: Schema, what: str
) -> None:
    if bad.any():
        example = frame[list(schema.key)].iloc[int(bad.argmax())].to_dict()
        raise ArtifactError(
            f"{schema.name}.{column.name}: {int(bad.sum())} values are {what}, such as at {example}"
        )
