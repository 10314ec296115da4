"""The model families that can be planted; one more is one module and one line here.

A builder takes a plan and gives the family's adapter. `decoder.write_decoder` sets the language
model, whatever the family; its own are the vision tower, the configuration and the prompts' ends.
"""

from collections.abc import Callable

from hones_core.models.adapter import Adapter
from hones_core.planted.llava import build_llava
from hones_core.planted.plan import Planted

FAMILIES: dict[str, Callable[[Planted], Adapter]] = {"llava": build_llava}
