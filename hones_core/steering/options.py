"""From the configuration's section `steering` to what learning takes."""

from collections.abc import Mapping
from typing import Any

from hones_core.steering.methods import Options
from hones_core.steering.training import Training

SHARED = (
    "learning_rate",
    "epochs",
    "batch_size",
    "l2_weight",
    "clip_norm",
    "max_abs_scale",
    "allow_sign_flip",
    "negatives_per_query",
)


def training_from(steering: Mapping[str, Any], seed: int) -> Training:
    """How scales are learned, but for the KL weight, which `options_from` has."""
    return Training(**{name: steering[name] for name in SHARED}, seed=seed)


def options_from(steering: Mapping[str, Any], seed: int) -> Options:
    """What is tried; random banks have the seeds from `seed` on."""
    return Options(
        steering["kl_weights"],
        steering["grid_factors"],
        steering["fixed_amplification"],
        [seed + number for number in range(steering["random_seeds"])],
        steering["quick"],
    )
