"""What localization costs per instance, beside the paper's figures (Table 9)."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from hones_core.atomic import write_text
from hones_core.schemas.tables import EFFICIENCY
from hones_core.tables.plain import plain_markdown

METHODS = ("hones", "hones_with_heads", "qrnca", "group_patching")
PAPER_METHODS = {"HONES": "hones", "QRNCA": "qrnca", "GroupPatching": "group_patching"}
DECIMALS = 4


def efficiency(
    work: Mapping[str, pd.DataFrame],
    seconds: Mapping[str, pd.DataFrame],
    paper: pd.DataFrame,
    compare_with: Mapping[str, str | None],
) -> pd.DataFrame:
    """Means over the trials, in the columns of schemas.tables.EFFICIENCY.

    `work` (TOKEN_LAYERS) and `seconds` of each model; `hones_with_heads` is the sum of `hones` and
    `head_localization` in each trial. `paper` is localization_seconds_per_instance.csv.
    """
    figures = {
        (row["model"], PAPER_METHODS[row["method"]]): row for row in paper.to_dict("records")
    }
    rows = []
    for model, counted in work.items():
        trials = _per_instance(counted.merge(seconds[model], validate="one_to_one"))
        compared = compare_with.get(model) or ""
        for method in METHODS:
            of_method = trials[trials["method"] == method]
            published = figures.get((compared, method), {})
            rows.append(
                {
                    "model": model,
                    "method": method,
                    "n_trials": len(of_method),
                    "seconds": of_method["seconds"].mean(),
                    "seconds_sd": of_method["seconds"].std(ddof=1),
                    "token_layers": of_method["token_layers"].mean(),
                    "plain_token_layers": of_method["plain_token_layers"].mean(),
                    "device": of_method["device"].iloc[0],
                    "paper_model": compared,
                    "paper_seconds": published.get("mean_s", float("nan")),
                    "paper_seconds_sd": published.get("std_s", float("nan")),
                    "paper_device": published.get("hardware", ""),
                }
            )
    return pd.DataFrame(rows)[EFFICIENCY.names].round(DECIMALS)


def write_efficiency(table: pd.DataFrame, csv: str | Path, markdown: str | Path) -> None:
    """Write the table as CSV and Markdown, each atomically. No parquet: times differ by run."""
    write_text(Path(csv), table.to_csv(index=False, lineterminator="\n"))
    write_text(Path(markdown), plain_markdown(table, EFFICIENCY))


def _per_instance(trials: pd.DataFrame) -> pd.DataFrame:
    """Figures per instance, and the rows of HONES with the search for its heads."""
    measured = ["seconds", "token_layers", "plain_token_layers"]
    trials = trials.copy()
    trials[measured] = trials[measured].div(trials["n_instances"], axis=0)
    parts = trials[trials["method"].isin(["hones", "head_localization"])]
    both = parts.groupby(["trial", "n_instances", "device"], as_index=False)[measured].sum()
    return pd.concat([trials, both.assign(method="hones_with_heads")], ignore_index=True)
