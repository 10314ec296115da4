"""What the tests of the preflight share: devices that are not here, and the toy's settings."""

from pathlib import Path

import yaml

from hones_core.engine.device import DeviceFacts
from hones_core.models import checkpoint as checkpoints
from hones_core.settings import load_settings

ROOT = Path(__file__).parent.parent
SINGLE, INDEX = checkpoints.SINGLE, checkpoints.INDEX
DEFAULT_WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
V100 = DeviceFacts("Tesla V100", (7, 0), ("sm_50", "sm_60", "sm_70", "sm_80"), 32 * 10**9)
H100 = DeviceFacts("H100", (9, 0), DEFAULT_WHEEL, 80 * 10**9)
CPU = DeviceFacts("cpu", free_bytes=32 * 10**9)


def settings_of(path, family: str = "llava", **changes):
    """The toy's configuration with the model at `path`."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    config["models"] = config["models"][:1]
    config["models"][0] |= {"path": str(path), "family": family, "device": "cpu"} | changes
    config["engine"]["decode_rows"] = None  # planned
    return load_settings(config)
