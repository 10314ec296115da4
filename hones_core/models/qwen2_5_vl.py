"""Qwen2.5-VL: a window-attention tower for images of any size, and a Qwen2.5 language model."""

from typing import Any

import torch
from PIL import Image
from torch import Tensor

from hones_core.models.adapter import ModelError
from hones_core.models.chat import ChatAdapter


class Qwen2_5_VLAdapter(ChatAdapter):
    """`Qwen2_5_VLForConditionalGeneration`, real or toy.

    Its full processor needs torchvision; here the inputs are built from the tokenizer and the
    image processor alone. Positions have three axes (time, row, column), which the model computes
    from all of its inputs or else guesses from `rope_deltas`, its memory of an earlier call: they
    are computed and passed on explicitly, and that memory is cleared.
    """

    family = "qwen2_5_vl"
    position_axes = 3  # time, row and column
    separator = ""  # the chat template ends the prompt with a line break

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_attention()
        self._check_image_processor()

    def inputs(self, images: list[Image.Image], texts: list[str]) -> dict[str, Tensor]:
        """Prompts with one `<|image_pad|>` for each feature, and the images' patches.

        mm_token_type_ids [B, T] (1 at images), pixel_values [patches, values of a patch] of all
        images, one after the other, image_grid_thw [B, 3] their patches in time, rows and columns.
        """
        if len(images) != len(texts):
            raise ModelError(f"{len(images)} images for {len(texts)} prompts: each needs its own")
        pixels, grid = self._patches(images)
        counts = (grid.prod(-1) // self.image_processor.merge_size**2).tolist()
        tokens = self.expanded(texts, counts)
        self.forget()
        return {
            **tokens,
            "mm_token_type_ids": (tokens["input_ids"] == self.image_token).long(),
            "pixel_values": pixels.to(self.device, self.dtype),
            "image_grid_thw": grid.to(self.device),
        }

    def image_features(self, inputs: dict[str, Tensor]) -> Tensor:
        """The merged patches of all images, one image after the other, [features, d]."""
        features = self.model.model.get_image_features(
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
            return_dict=True,
        ).pooler_output
        return torch.cat(list(features))

    def positions(self, inputs: dict[str, Tensor]) -> Tensor:
        """Positions [3, B, T] in time, rows and columns; text counts on all three; padding is 0."""
        positions, _ = self.model.model.get_rope_index(
            inputs["input_ids"],
            mm_token_type_ids=inputs["mm_token_type_ids"],
            image_grid_thw=inputs["image_grid_thw"],
            attention_mask=inputs["attention_mask"],
        )
        return positions

    def forget(self) -> None:
        """Clear what the model keeps of the last prompt that `generate` or `forward` has seen."""
        self.model.model.rope_deltas = None

    def _patches(self, images: list[Image.Image]) -> tuple[Tensor, Tensor]:
        try:
            prepared = self.image_processor(images=images, return_tensors="pt")
        except ValueError as error:  # such as a strip that is 200 times as long as it is wide
            sizes = ", ".join(f"{image.width} x {image.height}" for image in images)
            raise ModelError(f"images of {sizes} pixels cannot be prepared: {error}") from error
        return prepared["pixel_values"], prepared["image_grid_thw"]

    def _check_attention(self) -> None:
        kinds = set(self.model.config.get_text_config().layer_types)
        if kinds != {"full_attention"}:
            raise ModelError(f"layers with {sorted(kinds - {'full_attention'})} are not supported")

    def _check_image_processor(self) -> None:
        """Refuse an image processor that counts patches otherwise than the vision tower."""
        vision, processor = self.model.config.vision_config, self.image_processor
        wanted = (vision.patch_size, vision.spatial_merge_size, vision.temporal_patch_size)
        found = (processor.patch_size, processor.merge_size, processor.temporal_patch_size)
        if found != wanted:
            raise ModelError(
                "the image processor cuts images into patches, merged patches and frames of "
                f"{found}, the vision tower reads {wanted}: image tokens would not match features"
            )
        least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
        if least > most:
            raise ModelError(f"min_pixels ({least}) is larger than max_pixels ({most})")
