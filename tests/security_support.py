"""Files that hold pickled objects, whatever they are called."""

import zipfile
from pathlib import Path

PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".npy", ".npz", ".h5", ".joblib"}


def pickles_in(folder: Path) -> list[Path]:
    """All files below the folder that a loader would unpickle: by name, first bytes or content."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_pickle(path)]


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(2)
    if path.suffix in PICKLED or (start[:1] == b"\x80" and start[1:] <= b"\x05"):
        return True
    if start != b"PK":
        return False
    with zipfile.ZipFile(path) as archive:  # what torch.save and numpy.savez write
        return any(name.endswith((".pkl", ".npy")) for name in archive.namelist())
