"""LLaVA-NeXT and LLaVA-OneVision: a small view of the whole image, and crops in its resolution.

The features of the crops are put together to one picture; the padding's are cut off, and each row
ends with a feature that means a new line (`image_newline`). How many there are depends on the
image's size. The model's own code packs them; the same code counts them here.
"""

from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import LlavaNextModel, LlavaOnevisionModel
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

from hones_core.models.adapter import ModelError
from hones_core.models.chat import ChatAdapter

# Which of the tower's states are patches only, in the order of the crop.
STRATEGIES = {"clip_vision_model": "default", "siglip_vision_model": "full"}


# What each model's packing is told of its own config.
PACKING = {
    LlavaNextModel: "vision_feature_select_strategy",
    LlavaOnevisionModel: "vision_aspect_ratio",
}


def count_features(kind: Any, config: Any, height: int, width: int) -> int:
    """Image tokens of an image of that size: blank features, packed by the model class `kind`.

    Raises ValueError for a config with which that class cannot pack anything.
    """
    vision, size, option = config.vision_config, [height, width], PACKING[kind]
    crops = image_size_to_num_patches(size, config.image_grid_pinpoints, vision.image_size)
    side = vision.image_size // vision.patch_size
    packed, _ = kind.pack_image_features(
        SimpleNamespace(config=config),  # all that packing reads of a model
        [torch.zeros(crops, side * side, 1)],
        [size],
        image_newline=torch.zeros(1),
        **{option: getattr(config, option)},
    )
    return len(packed[0])


class LlavaNextAdapter(ChatAdapter):
    """`LlavaNextForConditionalGeneration`, with whatever language model the self-check accepts.

    Checkpoints have the chat formats of their language models; the tokenizer's template is used.
    """

    family = "llava_next"
    kind: Any = LlavaNextModel
    image_inputs: tuple[str, ...] = ("pixel_values", "image_sizes")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._check_tower()
        self._check_image_processor()

    def inputs(self, images: list[Image.Image], texts: list[str]) -> dict[str, Tensor]:
        """Prompts with one `<image>` for each feature, and the images' crops.

        pixel_values [B, crops, 3, side, side], padded to the most crops of an image; image_sizes
        [B, 2], height and width; what else the family's image processor gives.
        """
        if len(images) != len(texts):
            raise ModelError(f"{len(images)} images for {len(texts)} prompts: each needs its own")
        prepared = self._crops(images)
        sizes = prepared["image_sizes"].tolist()
        tokens = self.expanded(texts, [self._count(*size) for size in sizes])
        given = {name: prepared[name].to(self.device) for name in self.image_inputs}
        return {**tokens, **given, "pixel_values": given["pixel_values"].to(self.dtype)}

    def image_features(self, inputs: dict[str, Tensor]) -> Tensor:
        """The packed features of all images, one image after the other, [features, d]."""
        given = {name: inputs[name] for name in self.image_inputs}
        features = self.model.model.get_image_features(**given, return_dict=True).pooler_output
        return torch.cat(list(features))

    def _count(self, height: int, width: int) -> int:
        return count_features(self.kind, self.model.config, height, width)

    def _crops(self, images: list[Image.Image]) -> dict[str, Tensor]:
        try:
            return self.image_processor(images=images, do_pad=True, return_tensors="pt")
        except ValueError as error:
            sizes = ", ".join(f"{image.width} x {image.height}" for image in images)
            raise ModelError(f"images of {sizes} pixels cannot be prepared: {error}") from error

    def _check_tower(self) -> None:
        """Refuse features that are not exactly the crop's patches: they could not be packed."""
        kind = self.model.config.vision_config.model_type
        found = self.model.config.vision_feature_select_strategy
        if kind not in STRATEGIES:
            raise ModelError(
                f"the vision tower is a {kind}, of which packing is not known; known: "
                f"{', '.join(STRATEGIES)}"
            )
        if found != STRATEGIES[kind]:
            raise ModelError(
                f"vision_feature_select_strategy is {found!r}, but the crops of a {kind} can only "
                f"be packed with {STRATEGIES[kind]!r}"
            )

    def _check_image_processor(self) -> None:
        """Refuse an image processor that cuts crops otherwise than the model puts together."""
        config, side = self.model.config, self.model.config.vision_config.image_size
        wanted = [list(size) for size in config.image_grid_pinpoints]
        if [list(size) for size in self.image_processor.image_grid_pinpoints] != wanted:
            raise ModelError(
                "the image processor's image_grid_pinpoints are not the model's: image tokens "
                "would not match features"
            )
        uneven = [size for size in wanted if size[0] % side or size[1] % side]
        if uneven:
            raise ModelError(f"image_grid_pinpoints {uneven} are not whole crops of {side} pixels")
        blank = self._crops([Image.new("RGB", (side, side))])["pixel_values"]
        if blank.shape[-2:] != (side, side):
            raise ModelError(
                f"the image processor cuts crops of {list(blank.shape[-2:])} pixels, the vision "
                f"tower reads {side} x {side}"
            )
        try:
            self._count(side, side)
        except ValueError as error:
            raise ModelError(f"the model cannot pack its images' crops: {error}") from error


class LlavaOnevisionAdapter(LlavaNextAdapter):
    """`LlavaOnevisionForConditionalGeneration`: large images are scaled down when packed."""

    family = "llava_onevision"
    kind = LlavaOnevisionModel
    image_inputs = ("pixel_values", "image_sizes", "batch_num_images")
