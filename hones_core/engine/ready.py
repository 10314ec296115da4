"""What is cheap to know before a model is loaded: its device, and that its files are whole."""

from hones_core.engine.device import check_device, look
from hones_core.findings import failures, in_words
from hones_core.models.adapter import ModelError
from hones_core.models.checkpoint import check_checkpoint, find_checkpoint


def require_ready(path: str, family: str, dtype: str, device: str, revision: str | None) -> None:
    """Raise ModelError, with what to do, for a device or weights that cannot be used.

    Takes milliseconds: headers are read, and nothing else of the weights.
    """
    checkpoint = find_checkpoint(path, revision)
    found = check_device(path, device, dtype, look(device))
    found += check_checkpoint(path, family, checkpoint)
    failed = failures(found)
    if failed:
        raise ModelError(f"{path} cannot be run here: {in_words(failed)}")
