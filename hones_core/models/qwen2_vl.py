"""Qwen2-VL: Qwen2.5-VL's inputs and positions, another tower, and a Qwen2 language model."""

from hones_core.models.qwen2_5_vl import Qwen2_5_VLAdapter


class Qwen2VLAdapter(Qwen2_5_VLAdapter):
    """`Qwen2VLForConditionalGeneration`."""

    family = "qwen2_vl"
