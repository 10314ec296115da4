"""Write the documents that are generated from code: `python -m hones_core.docs`.

docs/artifacts.md from the declared schemas, docs/config.schema.json from the settings,
docs/invalidation.md from docs/invalidation.yaml. A test fails when the files in the repository
differ from what this module would write.
"""

import importlib
import pkgutil
from pathlib import Path

import hones_core.schemas
from hones_core.artifacts import Schema
from hones_core.atomic import write_text
from hones_core.invalidation import contract_page, read_contract
from hones_core.settings import json_schema

_HEAD = """# Artifacts

Every intermediate result is one parquet file under `results/{run_name}/`. Generated from
`hones_core/schemas/` by `make docs`; do not edit.

Read them with `hones_core.artifacts.read(path, schema)`, pandas, DuckDB or anything else that
reads parquet. Rows are sorted by the key. No value is null.
"""


def all_schemas() -> list[Schema]:
    """Every declared schema, in the order of the files and of their declarations."""
    found: dict[str, Schema] = {}  # by name: a module may import another's schema
    for module in pkgutil.iter_modules(hones_core.schemas.__path__):
        namespace = vars(importlib.import_module(f"hones_core.schemas.{module.name}"))
        for value in namespace.values():
            if isinstance(value, Schema) and found.setdefault(value.name, value) is not value:
                raise ValueError(f"two schemas are called {value.name}")
    return list(found.values())


def artifacts_page() -> str:
    """docs/artifacts.md."""
    return "\n".join([_HEAD, *(_section(schema) for schema in all_schemas())])


def generated() -> dict[str, str]:
    """{file under docs/: its text}."""
    return {
        "artifacts.md": artifacts_page(),
        "config.schema.json": json_schema(),
        "invalidation.md": contract_page(read_contract()),
    }


def _section(schema: Schema) -> str:
    lines = [
        f"## {schema.name}\n",
        f"{schema.meaning} Made by rule `{schema.rule}`; key: {', '.join(schema.key)}; "
        f"version {schema.version}.\n",
        "| column | type | unit | meaning |",
        "| --- | --- | --- | --- |",
    ]
    for column in schema.columns:
        meaning = column.meaning.replace("|", r"\|") + (" (may be NaN)" if column.nan else "")
        lines.append(f"| `{column.name}` | {column.type} | {column.unit} | {meaning} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent.parent / "docs"
    for name, text in generated().items():
        write_text(folder / name, text)
