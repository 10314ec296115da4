"""What a finished run says in the terminal: its answer, and where everything is."""

from pathlib import Path

from hones_core import artifacts
from hones_core.report.verdicts import headline
from hones_core.schemas.tables import MASKING_DROP


def run_summary(folder: Path) -> str:
    """The summary of the run in `folder`, such as results/toy; "" if it has no table to sum up.

    Raises ArtifactError for a table that is damaged.
    """
    table = folder / "tables" / f"{MASKING_DROP.name}.parquet"
    if not table.exists():
        return ""
    said = [f"Run {folder.name} is complete.", ""]
    said += [f"  {sentence}" for sentence in headline(artifacts.read(table, MASKING_DROP))]
    places = {
        "report": folder / "report" / "index.html",
        "tables": folder / "tables",
        "figures": folder / "figures",
    }
    found = [f"  {name:8} {path}" for name, path in places.items() if path.exists()]
    said += ["", *found, "  any artifact: python -m hones_core.inspect PATH"]
    return "\n".join(said)
