"""The world of the planted models: images of coloured patches, and four questions about them.

An image has 4 x 4 patches of one colour each; black is "nothing". Every task has a row and words
of its own for the seven colours:

caption    row 0, four patches, no colour twice: "apple leaf sea sun" names them in order
ocr        row 1, three or four patches from the left, no colour twice: letters, "R G B"
vqa        row 2, four patches: "Which colour is second?" asks for one of them
retrieval  row 3, two of four patches: does "scarlet" correctly describe the image?
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from hones_core.tasks.instances import CAPTION_REFERENCES, VQA_ANSWERS, Instance

TASKS = ("vqa", "ocr", "caption", "retrieval")
ROW_LENGTH = 4
ROWS = ("caption", "ocr", "vqa", "retrieval")
SLOTS = ROW_LENGTH * len(ROWS)
PATCH = 8  # pixels
SIDE = ROW_LENGTH * PATCH

# The corners of the colour cube but black, as signs of (red, green, blue).
PAINTS = ((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, -1), (-1, 1, 1), (1, -1, 1), (1, 1, 1))
CONTENTS = len(PAINTS)
NOTHING = -1
BRIGHT, DARK, JITTER = 225, 30, 5  # levels of a colour channel

WORDS = {
    "vqa": ("red", "green", "blue", "yellow", "cyan", "magenta", "white"),
    "ocr": ("R", "G", "B", "Y", "C", "M", "W"),
    "caption": ("apple", "leaf", "sea", "sun", "ice", "rose", "snow"),
    "retrieval": ("scarlet", "emerald", "azure", "golden", "aqua", "pink", "pale"),
}
PLACES = ("first", "second", "third", "fourth")
YES, NO, END = "Yes", "No", "</s>"
ANSWERS = (*WORDS["vqa"], *WORDS["ocr"], *WORDS["caption"], YES, NO, END)
_OTHER_WORDS = ("USER:", "Question:", "Candidate:", "Which", "colour", "is")
_SPECIAL = ("<pad>", "<s>", END, "<image>", "<unk>")


def row_slots(task: str) -> range:
    """The slots of a task's row."""
    start = ROWS.index(task) * ROW_LENGTH
    return range(start, start + ROW_LENGTH)


def place_token(place: int) -> str:
    """The word of a question that says which patch is asked for."""
    return f"{PLACES[place]}?"


def build_tokenizer(prompt_ends: Mapping[str, str]) -> PreTrainedTokenizerFast:
    """One token a word, and one for the end of each task's prompt ({task: its text}).

    So the last prompt token itself says which task is asked, whatever the instruction's wording.
    """
    words = [*_SPECIAL, *_OTHER_WORDS, *map(place_token, range(ROW_LENGTH))]
    words += [word for task in TASKS for word in WORDS[task]] + [YES, NO]
    tokenizer = Tokenizer(
        models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(word, special=True) for word in _SPECIAL])
    tokenizer.add_tokens(
        [AddedToken(prompt_ends[task], lstrip=True, normalized=False) for task in TASKS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=END,
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def draw_scenes(folder: Path, count: int, seed: int) -> dict[str, list[Instance]]:
    """Write `count` images to `folder` and return {task: its instances}, one an image.

    What is to be said first goes round all colours, so that every word is asked for equally often
    (with `count` a multiple of seven).
    """
    generator = np.random.default_rng([seed, 0])
    instances: dict[str, list[Instance]] = {task: [] for task in TASKS}
    for index in range(count):
        name = f"{index:04d}.png"
        rows = {}
        for task in ROWS:
            rows[task], fields = _ASK[task](index % CONTENTS, generator)
            fields = {"question": "", "references": (), "candidates": (), **fields}
            instances[task].append(
                Instance(
                    instance_id=f"{task}-{index:04d}",
                    task=task,
                    split="discovery",
                    image_id=index,
                    image=name,
                    positive_index=0 if task == "retrieval" else -1,
                    **fields,
                )
            )
        _draw([rows[task] for task in ROWS], generator).save(folder / name)
    return instances


Asked = tuple[list[int], dict[str, Any]]  # contents of the row's patches, fields of the instance


def _others(first: int, generator: np.random.Generator) -> list[int]:
    """The other contents in random order."""
    return generator.permutation([k for k in range(CONTENTS) if k != first]).tolist()


def _ask_caption(first: int, generator: np.random.Generator) -> Asked:
    row = [first, *_others(first, generator)[: ROW_LENGTH - 1]]
    text = " ".join(WORDS["caption"][content] for content in row)
    return row, {"references": (text,) * CAPTION_REFERENCES}


def _ask_ocr(first: int, generator: np.random.Generator) -> Asked:
    length = int(generator.integers(ROW_LENGTH - 1, ROW_LENGTH + 1))
    letters = [first, *_others(first, generator)[: length - 1]]
    text = " ".join(WORDS["ocr"][content] for content in letters)
    return letters + [NOTHING] * (ROW_LENGTH - length), {"references": (text,)}


def _ask_vqa(first: int, generator: np.random.Generator) -> Asked:
    row = generator.integers(0, CONTENTS, ROW_LENGTH).tolist()
    place = int(generator.integers(ROW_LENGTH))
    row[place] = first
    question = f"Which colour is {place_token(place)}"
    return row, {"question": question, "references": (WORDS["vqa"][first],) * VQA_ANSWERS}


def _ask_retrieval(first: int, generator: np.random.Generator) -> Asked:
    present, *absent = _others(first, generator)
    row = [first, present] + [NOTHING] * (ROW_LENGTH - 2)
    row = [row[place] for place in generator.permutation(ROW_LENGTH)]
    return row, {"candidates": tuple(WORDS["retrieval"][content] for content in (first, *absent))}


_ASK: dict[str, Callable[[int, np.random.Generator], Asked]] = {
    "vqa": _ask_vqa,
    "ocr": _ask_ocr,
    "caption": _ask_caption,
    "retrieval": _ask_retrieval,
}


def _draw(rows: Sequence[Sequence[int]], generator: np.random.Generator) -> Image.Image:
    """The image, SIDE x SIDE pixels; each patch's paint is off by up to JITTER levels."""
    pixels = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    for y, row in enumerate(rows):
        for x, content in enumerate(row):
            signs = np.array((-1, -1, -1) if content == NOTHING else PAINTS[content])
            paint = np.where(signs > 0, BRIGHT, DARK) + generator.integers(-JITTER, JITTER + 1, 3)
            pixels[y * PATCH : (y + 1) * PATCH, x * PATCH : (x + 1) * PATCH] = paint
    return Image.fromarray(pixels)
