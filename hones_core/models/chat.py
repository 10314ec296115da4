"""Families whose prompts are written by the tokenizer's chat template."""

from functools import cached_property
from typing import Any

from jinja2 import TemplateError

from hones_core.models.adapter import Adapter, ModelError


class ChatAdapter(Adapter):
    """An adapter with one placeholder for the image, which its tokenizer keeps whole.

    Attributes: placeholder, the token that stands for the image in a prompt, as text.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.placeholder = self._image_placeholder()
        self._check_chat_template()

    @cached_property
    def separator(self) -> str:  # type: ignore[override]  # read only: the template says it
        """Nothing behind a chat format that ends with a line break or a space, else a space."""
        return "" if self.prompt("What is it?")[-1].isspace() else " "

    def prompt(self, instruction: str) -> str:
        """The tokenizer's chat format of one turn, the image before the text.

        Raises ModelError if the tokenizer has no chat template, or one that cannot be filled in.
        """
        content = [{"type": "image"}, {"type": "text", "text": instruction}]
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
        except (TemplateError, TypeError, ValueError) as error:
            raise ModelError(f"the tokenizer's chat template cannot be used: {error}") from error
        return self._without_second_start(text)

    def expanded(self, texts: list[str], counts: list[int]) -> dict:
        """input_ids and attention_mask [B, T], with one placeholder for each feature.

        Raises ModelError if a prompt does not hold its image's placeholder exactly once.
        """
        if len(counts) != len(texts):
            raise ModelError(f"{len(counts)} images for {len(texts)} prompts: each needs its own")
        for text in texts:
            if text.count(self.placeholder) != 1:
                raise ModelError(f"the prompt {text!r} must hold exactly one {self.placeholder}")
        repeated = [
            text.replace(self.placeholder, self.placeholder * count)
            for text, count in zip(texts, counts, strict=True)
        ]
        tokens = self.tokenizer(repeated, return_tensors="pt", padding=True)
        found = (tokens["input_ids"] == self.image_token).sum(-1).tolist()
        if found != counts:
            raise ModelError(
                f"the prompts have {found} image tokens for {counts} image features: the "
                f"tokenizer does not keep {self.placeholder} whole"
            )
        return {name: tokens[name].to(self.device) for name in ("input_ids", "attention_mask")}

    def _without_second_start(self, text: str) -> str:
        """A template may write the start of the sequence that the tokenizer adds by itself."""
        start = self.tokenizer.bos_token
        if start and text.startswith(start):
            ids = self.tokenizer(start)["input_ids"]
            if ids.count(self.tokenizer.bos_token_id) > 1:
                return text.removeprefix(start)
        return text

    def _image_placeholder(self) -> str:
        """The token that stands for the image in a prompt, as text."""
        known = self.image_token < len(self.tokenizer)
        placeholder = self.tokenizer.convert_ids_to_tokens(self.image_token) if known else ""
        alone = placeholder and self.tokenizer(placeholder, add_special_tokens=False)["input_ids"]
        if alone != [self.image_token]:
            raise ModelError(
                f"the tokenizer has no token of its own for images, the model's id "
                f"{self.image_token}: tokenizer and weights do not belong together"
            )
        return placeholder

    def _check_chat_template(self) -> None:
        if not self.tokenizer.chat_template:
            raise ModelError(
                "the tokenizer has no chat template; add the checkpoint's chat_template.jinja or "
                "chat_template.json"
            )
        before, found, after = self.prompt("What is it?").partition(self.placeholder)
        if not found or "What is it?" not in after:
            raise ModelError(
                f"the tokenizer's chat template does not put an image ({self.placeholder}) before "
                f"the text; it gives {before + found + after!r}"
            )
