"""LLaVA-1.5: a CLIP tower, a projector and a Llama language model."""

import torch
from PIL import Image

from hones_core.models.adapter import Adapter, Batch, ModelError


class LlavaAdapter(Adapter):
    """`LlavaForConditionalGeneration`, real or toy."""

    family = "llava"
    separator = " "

    def prompt(self, instruction: str) -> str:
        """The conversation format of LLaVA-1.5."""
        return f"USER: <image>\n{instruction} ASSISTANT:"

    def encode(self, images: list[Image.Image], texts: list[str]) -> Batch:
        """Tokenise prompts with one `<image>` each and merge the images' features."""
        pixels = self.image_processor(images=images, return_tensors="pt")["pixel_values"]
        features = self.model.model.get_image_features(
            pixel_values=pixels.to(self.device, self.dtype), return_dict=True
        ).pooler_output
        expanded = [
            text.replace("<image>", "<image>" * len(feature))
            for text, feature in zip(texts, features, strict=True)
        ]
        tokens = self.tokenizer(expanded, return_tensors="pt", padding=True)
        input_ids = tokens["input_ids"].to(self.device)
        is_image = input_ids == self.image_token
        expected = sum(len(feature) for feature in features)
        if int(is_image.sum()) != expected:
            raise ModelError(
                f"{int(is_image.sum())} image tokens for {expected} image features: the prompts "
                "must hold exactly one <image> each"
            )
        embeddings = self.embed(input_ids)
        merged = torch.cat(list(features)).to(embeddings.dtype)
        embeddings = embeddings.masked_scatter(is_image[..., None], merged)
        return Batch(embeddings, tokens["attention_mask"].to(self.device), input_ids)
