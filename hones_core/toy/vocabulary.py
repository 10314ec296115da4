"""The words of the toy world and the tokenizer made from them.

Every word is one token. The four fixed instructions are one token each as well, which halves the
length of a prompt and so the cost of the whole toy run; any other text still encodes, byte by byte
at worst. `ASSISTANT:` swallows the space after it, so that the first token of an answer is already
the answer ("K" or "red") and not a bare space: the neurons that write it are then active at the
last prompt token, where the method looks.
"""

import re
from dataclasses import dataclass

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Colour:
    """A colour: its paint, the words for it, and what must be known about it."""

    rgb: tuple[int, int, int]
    synonym: str
    spanish: str
    temperature: str


@dataclass(frozen=True)
class Shape:
    """A shape: the words for it, and what must be known about it."""

    synonym: str
    spanish: str
    corners: str
    outline: str


COLOURS = {
    "red": Colour((215, 40, 40), "scarlet", "rojo", "warm"),
    "orange": Colour((245, 140, 30), "amber", "naranja", "warm"),
    "yellow": Colour((240, 220, 50), "golden", "amarillo", "warm"),
    "maroon": Colour((150, 25, 60), "burgundy", "granate", "warm"),
    "pink": Colour((245, 150, 190), "rosy", "rosa", "warm"),
    "brown": Colour((125, 75, 40), "chestnut", "marron", "warm"),
    "green": Colour((50, 165, 70), "emerald", "verde", "cool"),
    "teal": Colour((20, 130, 130), "turquoise", "turquesa", "cool"),
    "cyan": Colour((60, 200, 215), "aqua", "celeste", "cool"),
    "purple": Colour((135, 60, 185), "violet", "morado", "cool"),
    "gray": Colour((130, 130, 130), "silver", "gris", "cool"),
    "black": Colour((30, 30, 30), "ebony", "negro", "cool"),
}
SHAPES = {
    "circle": Shape("disc", "circulo", "zero", "round"),
    "ring": Shape("hoop", "anillo", "zero", "round"),
    "moon": Shape("crescent", "luna", "two", "round"),
    "square": Shape("box", "cuadrado", "four", "angular"),
    "triangle": Shape("wedge", "triangulo", "three", "angular"),
    "diamond": Shape("rhombus", "rombo", "four", "angular"),
    "cross": Shape("plus", "cruz", "twelve", "angular"),
    "star": Shape("asterisk", "estrella", "ten", "angular"),
}
# Latin capitals and digits with some look-alikes (B 8, S 5, Z 2, K X, M N) and without the pairs
# that even people confuse in this font at this size (O 0, I 1).
CHARACTERS = "ABCDEFHKLMNPRSTUXYZ24578"
NUMBERS = ("zero", "one", "two", "three", "four")

INSTRUCTIONS = {
    "vqa": "Answer the question briefly using one or a few words.",
    "ocr": "Please transcribe the text inside the blue box. Output text only.",
    "caption": "Describe the image in one sentence.",
    "retrieval": "Does the candidate correctly describe the image? Answer exactly Yes or No.",
}
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
_FUNCTION_WORDS = """
    a an and or the of to is are there with near left right leftmost rightmost what which how many
    color shape shapes sign signs plate plates thing things does do have has corners more than
    warm cool round angular yes no Yes No What Which How Is Are Does in In Spanish it this
""".split()  # noqa: SIM905 - a word list reads best as text


def _words() -> list[str]:
    words = [*_FUNCTION_WORDS, *NUMBERS]
    for name, colour in COLOURS.items():
        words += [name, colour.synonym, colour.spanish, colour.temperature]
    for name, shape in SHAPES.items():
        words += [name, shape.synonym, shape.spanish, shape.corners, shape.outline]
    return list(dict.fromkeys(words))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer: bytes, every word with and without a leading space, instructions."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*SPECIAL, *alphabet]
    for word in _words():
        entries += [word, "\u0120" + word]  # U+0120 is how byte-level BPE writes a space
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    # ignore_merges: a whole word that is in the vocabulary is taken as it is; no merges are needed.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    tokenizer.add_tokens(
        [
            AddedToken("USER:", rstrip=True, normalized=False),
            AddedToken("ASSISTANT:", lstrip=True, rstrip=True, normalized=False),
            AddedToken("Question:", lstrip=True, normalized=False),
            AddedToken("Candidate:", lstrip=True, normalized=False),
            *(AddedToken(text, lstrip=True, normalized=False) for text in INSTRUCTIONS.values()),
        ]
    )
    start = tokenizer.token_to_id("<s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", start)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
        padding_side="left",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


class FastEncoder:
    """Token ids of toy sentences by plain dictionary look-ups, equal to the tokenizer's.

    Training encodes hundreds of short texts a second, for which the tokenizer's own call is slow.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self.ids = tokenizer.get_vocab()
        self.pad, self.bos = self.ids["<pad>"], self.ids["<s>"]
        self.eos, self.image = self.ids["</s>"], self.ids["<image>"]
        self.prefix = [self.bos, self.ids["USER:"]]
        self.instructions = {task: self.ids[text] for task, text in INSTRUCTIONS.items()}
        self.assistant = self.ids["ASSISTANT:"]

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
        """Encode all that follows the image: question or candidate, instruction, `ASSISTANT:`."""
        lead = {"vqa": "Question:", "retrieval": "Candidate:"}.get(task)
        head = [self.ids[lead], *self.words(content, leading_space=True)] if lead else []
        return [*head, self.instructions[task], self.assistant]


def prompt_text(task: str, content: str = "") -> str:
    """Return the prompt as written, with the image's place in it (METHOD 2, LLaVA's column)."""
    lead = {"vqa": "Question: ", "retrieval": "Candidate: "}.get(task)
    body = f"{lead}{content} {INSTRUCTIONS[task]}" if lead else INSTRUCTIONS[task]
    return f"USER: <image>\n{body} ASSISTANT:"
