"""What a finished run says in the terminal: its answer, and where everything is."""

from pathlib import Path

from hones_core import artifacts
from hones_core.artifacts import ArtifactError
from hones_core.report.verdicts import headline
from hones_core.schemas.tables import MASKING_DROP


def run_summary(folder: Path) -> str:
    """The summary of the run in `folder`, such as results/toy; "" if it has no table to sum up.

    Of a damaged table it says so: the run is over, and nothing is to be stopped.
    """
    table = folder / "tables" / f"{MASKING_DROP.name}.parquet"
    if not table.exists():
        return ""
    try:
        answer = headline(artifacts.read(table, MASKING_DROP))
    except ArtifactError as error:
        answer = [str(error)]
    said = [f"Run {folder.name} is complete.", "", *(f"  {sentence}" for sentence in answer)]
    places = {
        "report": folder / "report" / "index.html",
        "tables": folder / "tables",
        "figures": folder / "figures",
    }
    found = [f"  {name:8} {path}" for name, path in places.items() if path.exists()]
    said += ["", *found, "  any artifact: python -m hones_core.inspect PATH"]
    return "\n".join(said)
