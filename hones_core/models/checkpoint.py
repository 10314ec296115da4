"""Are a model's files whole, and are they the family's? Read from headers; no tensor is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from hones_core.findings import FAILED, OK, WARNING, Finding
from hones_core.models.loading import ARCHITECTURES, advice

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
LARGEST_HEADER = 100_000_000  # bytes; safetensors' own limit
LARGEST_JSON = 100_000_000  # bytes of a config or index
SHOWN = 3  # names in a message


class DamagedFileError(Exception):
    """A file of a checkpoint that is missing, cut off or not what its name says."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a model's files are. folder: None for a hub id without cache; hub: whether it is one.

    offline: whether nothing may be downloaded.
    """

    path: str
    revision: str | None
    folder: Path | None
    hub: bool
    offline: bool

    @property
    def files(self) -> Path:
        """The folder; ValueError where there is none."""
        if self.folder is None:
            raise ValueError(f"{self.path} is not on this machine")
        return self.folder

    @property
    def download(self) -> str:
        """What to do about files that are missing."""
        if not self.hub:
            return f"Copy the whole checkpoint to {self.path} again"
        revision = f" --revision {self.revision}" if self.revision else ""
        return f"On a machine with network: hf download {self.path}{revision}"


def find_checkpoint(path: str, revision: str | None = None) -> Checkpoint:
    """The local folder, or the snapshot of a hub id that is in the cache."""
    if Path(path).is_dir():
        return Checkpoint(path, revision, Path(path), False, constants.HF_HUB_OFFLINE)
    try:
        cached = try_to_load_from_cache(path, CONFIG, revision=revision)
    except HFValidationError:  # such as a path of several folders
        return Checkpoint(path, revision, None, False, constants.HF_HUB_OFFLINE)
    folder = Path(cached).parent if isinstance(cached, str) else None
    return Checkpoint(path, revision, folder, True, constants.HF_HUB_OFFLINE)


def check_checkpoint(model: str, family: str, checkpoint: Checkpoint) -> list[Finding]:
    """The findings `config` and `weights`."""
    if checkpoint.folder is None:
        return [_not_here(model, checkpoint)]
    return [_check_config(model, family, checkpoint), _check_weights(model, checkpoint)]


def read_json(path: Path) -> dict:
    """A JSON object of a checkpoint; DamagedFileError if the file does not hold one."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise DamagedFileError(f"{path.name} has {path.stat().st_size:,} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DamagedFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise DamagedFileError(f"{path.name} is not a JSON object")
    return content


def read_header(path: Path) -> dict[str, dict]:
    """{tensor: its type, shape and place} of a safetensors file, from its header alone.

    Raises DamagedFileError if the header is not readable, or the file is shorter or longer than
    the header says.
    """
    try:
        with path.open("rb") as stream:
            size = path.stat().st_size
            length = int.from_bytes(stream.read(8), "little")
            if size < 8 or length > min(size - 8, LARGEST_HEADER):
                raise DamagedFileError(
                    f"{path.name} has {size:,} bytes, and its header would have {length:,}: it is "
                    "cut off, or no safetensors file"
                )
            header = json.loads(stream.read(length))
    except OSError as error:
        raise DamagedFileError(f"{path.name} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"the header of {path.name} is not JSON: {error}") from error
    try:
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        end = max((int(entry["data_offsets"][1]) for entry in tensors.values()), default=0)
    except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
        raise DamagedFileError(f"the header of {path.name} does not list tensors") from error
    if size != 8 + length + end:
        raise DamagedFileError(
            f"{path.name} has {size:,} bytes, its header promises {8 + length + end:,}"
        )
    return tensors


def _not_here(model: str, checkpoint: Checkpoint) -> Finding:
    if not checkpoint.hub:
        remedy = "Give an existing folder or a hub id as the model's path"
        return Finding("weights", model, FAILED, f"there is no folder {checkpoint.path}", remedy)
    revision = checkpoint.revision or "main"
    where = f"{checkpoint.path} is no folder here, and as a hub id not in the cache ({revision})"
    if checkpoint.offline:
        detail = f"{where}, and offline mode is set (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)"
        return Finding("weights", model, FAILED, detail, checkpoint.download)
    detail = f"{where}; offline mode is not set: the first job would download it"
    return Finding("weights", model, WARNING, detail, checkpoint.download)


def _check_config(model: str, family: str, checkpoint: Checkpoint) -> Finding:
    try:
        config = read_json(checkpoint.files / CONFIG)
    except DamagedFileError as error:
        return Finding("config", model, FAILED, str(error), checkpoint.download)
    needed = ARCHITECTURES[family]
    found = config.get("architectures")
    found = found if isinstance(found, list) else []
    own_code = f"{CONFIG} names code of its own (auto_map), which is never run"
    if needed not in found and config.get("auto_map"):
        remedy = f"Take a checkpoint in transformers' own format, as {needed}"
        return Finding("config", model, FAILED, f"{own_code}, for {found}", remedy)
    if needed not in found:
        detail = f"family {family} needs {needed}, but {CONFIG} names {advice(found)}"
        remedy = "Set the model's family to that of its checkpoint, or take another checkpoint"
        return Finding("config", model, FAILED, detail, remedy)
    if config.get("auto_map"):
        remedy = "Compare with the checkpoint in transformers' own format, if there is one"
        return Finding("config", model, WARNING, f"{own_code}; transformers has {needed}", remedy)
    return Finding("config", model, OK, needed)


def _check_weights(model: str, checkpoint: Checkpoint) -> Finding:
    """Whole shards; of a hub id that may be downloaded, missing ones are a warning only."""
    folder = checkpoint.files
    try:
        tensors_of = _listed(folder)
        if tensors_of is None:
            return _without_safetensors(model, checkpoint)
        missing = [name for name in tensors_of if not (folder / name).exists()]
        n_tensors = sum(
            _check_shard(folder / name, tensors)
            for name, tensors in tensors_of.items()
            if name not in missing
        )
    except DamagedFileError as error:
        remedy = f"Remove the damaged file from {folder}. {checkpoint.download}"
        return Finding("weights", model, FAILED, str(error), remedy)
    if missing:
        detail = f"{len(missing)} of {len(tensors_of)} shards are missing from {folder}: "
        return _incomplete(model, checkpoint, detail + _shown(missing))
    size = sum((folder / name).stat().st_size for name in tensors_of)
    detail = f"{n_tensors} tensors in {len(tensors_of)} files, {size / 1e9:.3g} GB"
    return Finding("weights", model, OK, detail)


def _listed(folder: Path) -> dict[str, set[str]] | None:
    """{shard: tensors that the index says it holds}, as transformers chooses; None without any."""
    if (folder / SINGLE).exists():
        return {SINGLE: set()}
    if not (folder / INDEX).exists():
        return None
    tensors_of: dict[str, set[str]] = {}
    places = read_json(folder / INDEX).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise DamagedFileError(f"{INDEX} has no weight_map")
    for tensor, name in places.items():
        if not isinstance(name, str) or PurePosixPath(name).name != name:
            raise DamagedFileError(f"{INDEX} names {name!r} as a shard, which is no file name")
        tensors_of.setdefault(name, set()).add(tensor)
    return dict(sorted(tensors_of.items()))


def _check_shard(path: Path, tensors: set[str]) -> int:
    """The number of tensors in a whole shard that holds those of the index."""
    found = read_header(path)
    lost = sorted(tensors - set(found))
    if lost:
        raise DamagedFileError(
            f"{path.name} lacks {len(lost)} tensors of {INDEX}, such as {lost[0]}"
        )
    return len(found)


def _without_safetensors(model: str, checkpoint: Checkpoint) -> Finding:
    pickled = sorted(path.name for kind in PICKLED for path in checkpoint.files.glob(kind))
    if pickled:
        detail = f"{checkpoint.folder} holds pickled weights only, which are refused: "
        remedy = "Convert them to safetensors (save_pretrained of a model that you trust)"
        return Finding("weights", model, FAILED, detail + _shown(pickled), remedy)
    detail = f"{checkpoint.folder} holds neither {SINGLE} nor {INDEX}"
    return _incomplete(model, checkpoint, detail)


def _incomplete(model: str, checkpoint: Checkpoint, detail: str) -> Finding:
    if checkpoint.hub and not checkpoint.offline:
        detail += "; the first job would download them"
        return Finding("weights", model, WARNING, detail, checkpoint.download)
    return Finding("weights", model, FAILED, detail, checkpoint.download)


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
