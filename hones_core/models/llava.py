"""LLaVA-1.5: a CLIP tower, a projector and a Llama language model."""

import torch
from PIL import Image
from torch import Tensor

from hones_core.models.adapter import Adapter, ModelError


class LlavaAdapter(Adapter):
    """`LlavaForConditionalGeneration`, real or toy."""

    family = "llava"
    separator = " "

    def prompt(self, instruction: str) -> str:
        """The conversation format of LLaVA-1.5."""
        return f"USER: <image>\n{instruction} ASSISTANT:"

    def inputs(self, images: list[Image.Image], texts: list[str]) -> dict[str, Tensor]:
        """pixel_values [B, 3, side, side], and prompts with one `<image>` for each feature."""
        pixels = self.image_processor(images=images, return_tensors="pt")["pixel_values"]
        for text in texts:
            if text.count("<image>") != 1:
                raise ModelError(f"the prompt {text!r} must hold exactly one <image>")
        count = self._features_per_image()
        expanded = [text.replace("<image>", "<image>" * count) for text in texts]
        tokens = self.tokenizer(expanded, return_tensors="pt", padding=True)
        return {
            "input_ids": tokens["input_ids"].to(self.device),
            "attention_mask": tokens["attention_mask"].to(self.device),
            "pixel_values": pixels.to(self.device, self.dtype),
        }

    def image_features(self, inputs: dict[str, Tensor]) -> Tensor:
        """The projected patches of all images, [B * patches, d]."""
        features = self.model.model.get_image_features(
            pixel_values=inputs["pixel_values"], return_dict=True
        ).pooler_output
        return torch.cat(list(features))

    def _features_per_image(self) -> int:
        vision = self.model.config.vision_config
        patches = (vision.image_size // vision.patch_size) ** 2
        return patches + (self.model.config.vision_feature_select_strategy == "full")
