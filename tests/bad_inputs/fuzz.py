"""How much is tried at random.

As a rule the same examples in every run. `HONES_FUZZ=50` tries fifty times as many, each time
others.
"""

import os

from hypothesis import HealthCheck, settings

FACTOR = int(os.environ.get("HONES_FUZZ", "1"))


def fuzzed(examples: int) -> settings:
    """Settings of a test that tries so many examples."""
    return settings(
        max_examples=examples * FACTOR,
        derandomize=FACTOR == 1,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
