"""The preflight's table: whether this machine can run what is configured."""

from hones_core.artifacts import Column, Schema

PREFLIGHT = Schema(
    name="preflight",
    version=1,
    rule="preflight",
    meaning="Whether the models, the machine and the data are fit for a run.",
    key=("row",),
    columns=(
        Column("row", "int64", "", "place in the table"),
        Column("check", "string", "", "what is looked at"),
        Column("model", "string", "", "the model; empty if it is about all of them"),
        Column("status", "string", "", "ok, warning, failed or skipped"),
        Column("detail", "string", "", "what is found, or why it is skipped"),
        Column("remedy", "string", "", "what to do; empty if nothing"),
    ),
)
