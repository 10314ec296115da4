"""What is known of every model family without loading one.

The settings, the prompts, the plan and the loader share this table. It imports nothing, so that the
configuration can be checked without the library's packages.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """One line of `models[].family`.

    architecture    its class, as a checkpoint's config.json names it
    words           the family in whose words it is asked: METHOD 2 has prompts of two
    vocabulary      whose tokens the plan counts texts in
    any_resolution  whether an image has as many features as its size asks for
    """

    architecture: str
    words: Literal["llava", "qwen2_5_vl"]
    vocabulary: Literal["llama", "qwen"]
    any_resolution: bool = False


FAMILIES: dict[str, Family] = {
    "llava": Family("LlavaForConditionalGeneration", "llava", "llama"),
    "qwen2_5_vl": Family("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", "qwen", True),
    "qwen2_vl": Family("Qwen2VLForConditionalGeneration", "qwen2_5_vl", "qwen", True),
    "llava_next": Family("LlavaNextForConditionalGeneration", "llava", "llama"),
    "llava_onevision": Family("LlavaOnevisionForConditionalGeneration", "llava", "qwen"),
}
