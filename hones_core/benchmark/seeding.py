"""Random choices that depend on nothing but the seed, the purpose and the record itself.

A generator that is consumed record by record gives other choices when a record is added or the
file is reordered. Here every item gets a pseudo-random key of its own, and choices are made by the
smallest key, so that they are the same in any order and on any machine.
"""

import hashlib
import json
from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item", int, str)


def seeded_key(seed: int, purpose: str, *parts: int | str) -> int:
    """A pseudo-random integer below 2**64 for `parts` (ids, texts), different for each purpose."""
    message = json.dumps([seed, purpose, *parts]).encode()
    return int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "big")


def seeded_order(items: Iterable[Item], seed: int, purpose: str, *parts: int | str) -> list[Item]:
    """`items` in an order that does not depend on the order in which they are given."""
    return sorted(items, key=lambda item: (seeded_key(seed, purpose, *parts, item), item))
