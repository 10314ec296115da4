"""How each family writes a prompt: its tokenizer, and a fast encoder of toy sentences.

Every word is one token. The fixed instructions and the turns' markers are one token each as well,
which halves the length of a prompt and so the cost of the whole toy run; any other text still
encodes, byte by byte at worst. What ends a prompt swallows the space after it, so that the first
token of an answer is already the answer ("K" or "red") and not a bare space: the neurons that write
it are then active at the last prompt token, where the method looks.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hones_core.toy.scenes import GRID
from hones_core.toy.vocabulary import all_words

_SHARED_INSTRUCTIONS = {
    "caption": "Describe the image in one sentence.",
    "retrieval": "Does the candidate correctly describe the image? Answer exactly Yes or No.",
}
_LEADS = {"vqa": "Question:", "retrieval": "Candidate:"}


@dataclass(frozen=True)
class PromptFormat:
    """A family's special tokens and what stands around image and text.

    before, after: tokens before and behind the image; end: the one before the answer. axes:
    position axes; with three the image spreads over rows and columns, as mRoPE counts.
    """

    special: tuple[str, ...]
    pad: str
    stop: str
    image: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    end: str
    axes: int
    instructions: dict[str, str]
    begin: str | None = None
    chat_template: str | None = None

    @property
    def turns(self) -> tuple[str, ...]:
        """Markers of turns, which are no special tokens."""
        return tuple(
            entry for entry in (*self.before, *self.after, self.end) if entry not in self.special
        )


FORMATS = {
    "llava": PromptFormat(
        special=("<pad>", "<s>", "</s>", "<image>"),
        pad="<pad>",
        stop="</s>",
        image="<image>",
        before=("<s>", "USER:"),
        after=(),
        end="ASSISTANT:",
        axes=1,
        instructions={
            "vqa": "Answer the question briefly using one or a few words.",
            "ocr": "Please transcribe the text inside the blue box. Output text only.",
            **_SHARED_INSTRUCTIONS,
        },
        begin="<s>",
    ),
    "qwen2_5_vl": PromptFormat(
        special=(
            "<|endoftext|>",
            "<|im_start|>",
            "<|im_end|>",
            "<|vision_start|>",
            "<|vision_end|>",
            "<|image_pad|>",
            "<|video_pad|>",
        ),
        pad="<|endoftext|>",
        stop="<|im_end|>",
        image="<|image_pad|>",
        before=("<|im_start|>user\n", "<|vision_start|>"),
        after=("<|vision_end|>",),
        end="<|im_end|>\n<|im_start|>assistant\n",
        axes=3,
        instructions={
            "vqa": "Answer the question with a short phrase.",
            "ocr": "Transcribe the text inside the blue box. Output text only.",
            **_SHARED_INSTRUCTIONS,
        },
        # Qwen's own without its system turn, which would say the same at the head of every prompt.
        chat_template=(
            "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
            "{% if message['content'] is string %}{{ message['content'] }}"
            "{% else %}{% for content in message['content'] %}"
            "{% if content['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
            "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}{% endif %}"
            "<|im_end|>\n{% endfor %}"
            "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
        ),
    ),
}


def build_tokenizer(family: str = "llava") -> PreTrainedTokenizerFast:
    """The tokenizer: bytes, every word with and without a leading space, instructions, turns."""
    form = FORMATS[family]
    entries = [*form.special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    for word in all_words():
        entries += [word, "\u0120" + word]  # U+0120 is how byte-level BPE writes a space
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    # ignore_merges: a whole word that is in the vocabulary is taken as it is; no merges are needed.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in form.special])
    tokenizer.add_tokens(list(_added_tokens(form)))
    common = {
        "padding_side": "left",
        "model_max_length": 256,
        "clean_up_tokenization_spaces": False,
    }
    if form.begin is None:
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            eos_token=form.stop,
            pad_token=form.pad,
            chat_template=form.chat_template,
            **common,
        )
    start = tokenizer.token_to_id(form.begin)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{form.begin} $A", special_tokens=[(form.begin, start)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=form.begin,
        eos_token=form.stop,
        pad_token=form.pad,
        extra_special_tokens={"image_token": form.image},
        **common,
    )


def _added_tokens(form: PromptFormat) -> Iterable[AddedToken]:
    for turn in form.turns:
        text_turn = turn[-1] == ":"  # LLaVA's are plain words, with spaces around them
        is_end = turn == form.end
        yield AddedToken(turn, lstrip=text_turn and is_end, rstrip=text_turn, normalized=False)
    for text in (*_LEADS.values(), *form.instructions.values()):
        yield AddedToken(text, lstrip=True, normalized=False)


class FastEncoder:
    """Token ids of toy sentences by plain dictionary look-ups, equal to the tokenizer's.

    Training encodes hundreds of short texts a second, for which the tokenizer's own call is slow.
    `prefix` are the ids before the image, `after_image` those behind it that begin every prompt.
    """

    def __init__(self, family: str = "llava"):
        self.format = FORMATS[family]
        self.ids = build_tokenizer(family).get_vocab()
        self.pad, self.eos = self.ids[self.format.pad], self.ids[self.format.stop]
        self.image = self.ids[self.format.image]
        self.prefix = [self.ids[token] for token in self.format.before]
        self.after_image = [self.ids[token] for token in self.format.after]
        self.instructions = {t: self.ids[text] for t, text in self.format.instructions.items()}
        self.assistant = self.ids[self.format.end]

    def words(self, text: str, *, leading_space: bool) -> list[int]:
        """Encode words and punctuation; the first word takes a leading space only if asked to."""
        out = []
        for position, piece in enumerate(re.findall(r"\w+|[^\w\s]", text)):
            spaced = piece[0].isalnum() and (leading_space or position > 0)
            out.append(self.ids[("\u0120" if spaced else "") + piece])
        return out

    def characters(self, text: str) -> list[int]:
        """Encode a plate's text, one token a character."""
        return [self.ids[character] for character in text]

    def prompt(self, task: str, content: str = "") -> list[int]:
        """Encode all that follows the image: question or candidate, instruction, the turn's end."""
        lead = _LEADS.get(task)
        head = [self.ids[lead], *self.words(content, leading_space=True)] if lead else []
        return [*head, self.instructions[task], self.assistant]

    def prefix_positions(self) -> np.ndarray:
        """Positions [axes, n] of prefix, image and what is behind it; text goes on at the next."""
        before, after = len(self.prefix), len(self.after_image)
        start = np.arange(before)
        if self.format.axes == 1:
            return np.arange(before + GRID * GRID + after)[None]
        row, column = np.divmod(np.arange(GRID * GRID), GRID)
        image = before + np.stack([np.zeros_like(row), row, column])
        end = before + GRID + np.arange(after)
        return np.concatenate([np.tile(start, (3, 1)), image, np.tile(end, (3, 1))], axis=1)
