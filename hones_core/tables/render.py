"""Tables for people: Markdown with one section a model, and CSV, beside the parquet artifact."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.atomic import write_text
from hones_core.tables.common import ordered, ordered_tasks

NOTHING = "–"

_INTERVAL = (
    "In brackets: {level} interval, paired bootstrap over the test instances "
    "({resamples} resamples, the same for all rows; corpus scores recomputed for each)."
)
_CAPTIONS = {
    "masking_drop": "Relative drop of the score in percent, (base − masked) / base · 100, with the "
    "top neurons of each ranker set to zero. {interval} ± : standard deviation over the seeds of a "
    "random ranker, whose score is the mean over its seeds. Bold: shown, the interval of the "
    "difference to the random ranker is above 0. paper: the published figure.",
    "masking_score": "Score on test in [0, 1] with the top neurons of each ranker set to zero; "
    "base: the unchanged model. {interval} ± : standard deviation over the seeds of a random "
    "ranker. paper: the published figure.",
    "group_drop": "Relative drop of the score in percent with one overlap group (neurons in the "
    "top sets of exactly these tasks) set to zero. {interval} random: mean ± standard deviation of "
    "the drops of random sets of the same size. Bold: shown, the interval of the difference to "
    "their mean is above 0. dominant: the task's dominant salient group. paper: the published "
    "figure.",
    "steering": "Score on test in [0, 1] of each steering method. {interval} ± : standard "
    "deviation over the random banks, whose score is the mean over them. paper: the published "
    "figure.",
}


def to_markdown(frame: pd.DataFrame, kind: str) -> str:
    """The table as Markdown: rows are rankers, groups or methods, columns are tasks.

    `kind` is masking_drop, masking_score, group_drop or steering, `frame` in the columns of that
    schema. Rows come in the frame's order. Raises ValueError for another kind.
    """
    if kind not in _CAPTIONS:
        raise ValueError(f"unknown table {kind!r}; known are {', '.join(_CAPTIONS)}")
    parts = [_caption(frame, kind)]
    name = {"group_drop": "group", "steering": "method"}.get(kind, "ranker")
    for model, rows in frame.groupby("model", sort=False):
        compared = rows["paper_model"].iloc[0]
        parts.append(f"## {model}" + (f" (paper: {compared})" if compared else ""))
        parts.append(_wide(rows, name, _CELLS[kind]))
        for note, column, cell in _MORE.get(kind, ()):
            if not rows[column].isna().all():
                parts += [note, _wide(rows, name, cell)]
    return "\n\n".join(parts) + "\n"


def write_table(
    frame: pd.DataFrame, schema: Schema, stem: str | Path, provenance: dict[str, Any] | None = None
) -> None:
    """Write `frame` as `stem`.parquet (checked against `schema`), .csv and .md, each atomically.

    Raises ArtifactError if the frame breaks the schema; nothing is written then.
    """
    stem = Path(stem)
    artifacts.write(f"{stem}.parquet", frame, schema, provenance)
    write_text(Path(f"{stem}.csv"), frame[schema.names].to_csv(index=False, lineterminator="\n"))
    write_text(Path(f"{stem}.md"), to_markdown(frame, schema.name))


def _caption(frame: pd.DataFrame, kind: str) -> str:
    level, resamples = frame["level"].iloc[0], int(frame["n_resamples"].iloc[0])
    interval = _INTERVAL.format(level=f"{level * 100:g} %", resamples=f"{resamples:,}")
    return _CAPTIONS[kind].format(interval=interval)


def _wide(rows: pd.DataFrame, name: str, cell: Callable[[pd.Series], str]) -> str:
    """One Markdown table: a line for each value of `name`, a column for each task with a cell."""
    cells = {(row[name], row["task"]): cell(row) for _, row in rows.iterrows()}
    tasks = ordered_tasks(task for (_, task), text in cells.items() if text)
    labels = rows[name].unique()
    if name == "group":
        labels = ordered(labels, sorted(labels, key=lambda group: group.count("+")))
    lines = [[name, *tasks], ["---"] * (len(tasks) + 1)]
    lines += [
        [_label(rows, name, label), *(cells.get((label, task), "") for task in tasks)]
        for label in labels
        if any(cells.get((label, task)) for task in tasks)
    ]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _label(rows: pd.DataFrame, name: str, label: str) -> str:
    if "n_neurons" not in rows or label == "base":
        return label
    own = rows[rows[name] == label]
    masked = int(own["n_neurons"].max())
    unscored = ""
    if "n_nonzero" in rows and own["n_nonzero"].min() < masked:
        unscored = f", only {int(own['n_nonzero'].min()):,} with a score other than 0"
    return f"{label} ({masked:,} neurons{unscored})"


def _drop_cell(row: pd.Series) -> str:
    drop = _with_interval(row, "drop", 1)
    drop = f"**{drop}**" if row["shown"] else drop
    return drop + _seeds(row, 1) + _paper(row["paper_drop"], 2)


def _score_cell(row: pd.Series) -> str:
    return _with_interval(row, "score", 3) + _seeds(row, 3) + _paper(row["paper_score"], 4)


def _group_cell(row: pd.Series) -> str:
    if row["n_neurons"] == 0:
        return "empty" + _paper(row["paper_drop"], 2)
    drop = _with_interval(row, "drop", 1)
    drop = f"**{drop}**" if row["shown"] else drop
    beside = []
    if row["n_trials"]:
        sd = "" if np.isnan(row["random_sd"]) else f" ± {row['random_sd']:.1f}"
        beside.append(f"random {_number(row['random_mean'], 1)}{sd}")
    if not np.isnan(row["paper_drop"]):
        beside.append(f"paper {round(row['paper_drop'], 2):g}")
    dominant = "dominant: " if row["dominant"] else ""
    return dominant + drop + (f" ({'; '.join(beside)})" if beside else "")


def _excess_cell(row: pd.Series) -> str:
    return "" if np.isnan(row["excess"]) else _with_interval(row, "excess", 1)


def _cell_2021(row: pd.Series) -> str:
    return "" if np.isnan(row["score_2021"]) else _number(row["score_2021"], 3)


def _gain_cell(row: pd.Series) -> str:
    if row["method"] == "base":
        return ""
    p = NOTHING if np.isnan(row["gain_p"]) else f"{row['gain_p']:.2g}"
    return f"{_with_interval(row, 'gain', 2)}, p {p}"


def _kl_cell(row: pd.Series) -> str:
    return "" if row["method"] == "base" else f"{row['kl']:.2g}"


def _development_cell(row: pd.Series) -> str:
    return _number(row["development_score"], 3)


_CELLS = {
    "masking_drop": _drop_cell,
    "masking_score": _score_cell,
    "group_drop": _group_cell,
    "steering": _score_cell,
}
# Further tables of the same rows: what they say, the column they are about, and its cells.
_MORE = {
    "masking_drop": [
        ("Drop beyond the random ranker, in percentage points:", "excess", _excess_cell)
    ],
    "masking_score": [
        ("VQA accuracy as the evaluator's March-2021 revision has it:", "score_2021", _cell_2021)
    ],
    "group_drop": [("Drop beyond the random sets, in percentage points:", "excess", _excess_cell)],
    "steering": [
        (
            "Gain over the base in percentage points, with its two-sided bootstrap p:",
            "gain",
            _gain_cell,
        ),
        ("KL to the base at the target's tokens on test, in nat:", "kl", _kl_cell),
        (
            "Score on development, on which all scales and factors were learned or chosen:",
            "development_score",
            _development_cell,
        ),
    ],
}


def _with_interval(row: pd.Series, name: str, digits: int) -> str:
    value = _number(row[name], digits)
    low, high = (_number(row[f"{name}_{end}"], digits) for end in ("low", "high"))
    return value if low == NOTHING else f"{value} [{low}, {high}]"


def _seeds(row: pd.Series, digits: int) -> str:
    return "" if row["n_seeds"] < 2 else f" ± {row['seed_sd']:.{digits}f}"


def _paper(figure: float, digits: int) -> str:
    """The paper's figure with the digits it was published with, at most `digits`."""
    return "" if np.isnan(figure) else f" (paper {round(figure, digits):g})"


def _number(value: float, digits: int) -> str:
    if np.isnan(value):
        return NOTHING
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0: no "-0.0"
