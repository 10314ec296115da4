"""What a tokenizer's tokens say, and which of them belong to the format of an answer.

Everything follows from the tokenizer itself, so that it holds for any model.
"""

import string
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

ARTICLES = ("a", "an", "the")
ANSWER_WORDS = ("yes", "no")  # that the prompts of METHOD 2 ask for, or lead to
SPACE_MARK = "\u2423"
_MARKS = {"\n": "\u21b5", "\r": "\u21b5", "\t": "\u21e5"}
_SPACE = "\u2581"  # how SentencePiece writes the space before a word; decoding drops it
_BROKEN = "\ufffd"  # what part of a character decodes to


@dataclass(frozen=True)
class Vocabulary:
    """The rows of an unembedding, [V]: what each says and what it is.

    texts: as written in an answer, with the space before a word; "" for a row without a token.
    is_token: whether the tokenizer has a token of that id. is_blank: white space alone. is_format:
    see `read_vocabulary`.
    """

    texts: list[str]
    is_token: np.ndarray
    is_blank: np.ndarray
    is_format: np.ndarray


def read_vocabulary(tokenizer: Any, n_rows: int, stop_ids: Iterable[int]) -> Vocabulary:
    """The tokens of an unembedding of `n_rows` rows, which may be more than there are tokens.

    Format are: the tokens that end an answer (`stop_ids`), white space and line breaks, single
    ASCII punctuation marks, the articles a, an, the, and Yes and No; each with or without a space
    before it, and in any case.
    """
    texts = token_texts(tokenizer, n_rows)
    is_token = np.array([bool(text) for text in texts])
    is_blank = np.array([bool(text) and not text.strip() for text in texts])
    is_format = np.array([bool(text) and _is_format(text) for text in texts])
    is_format[list(stop_ids)] = True
    return Vocabulary(texts, is_token, is_blank, is_format)


def token_texts(tokenizer: Any, n_rows: int) -> list[str]:
    """What each id below `n_rows` says; "" where the tokenizer has no such token.

    A token that is part of a character is given as the tokenizer writes it.
    """
    ids = list(range(min(n_rows, len(tokenizer))))
    written = tokenizer.convert_ids_to_tokens(ids)
    decoded = tokenizer.batch_decode([[one] for one in ids], clean_up_tokenization_spaces=False)
    texts = [_text(*pair) for pair in zip(written, decoded, strict=True)]
    return texts + [""] * (n_rows - len(ids))


def visible(text: str) -> str:
    """A token's text with its outer spaces made visible, and all that cannot be printed."""
    body = text.strip(" ")
    before = len(text) - len(text.lstrip(" "))
    after = len(text) - before - len(body)
    shown = "".join(one if one.isprintable() else _mark(one) for one in body)
    return SPACE_MARK * before + shown + SPACE_MARK * after


def _mark(character: str) -> str:
    return _MARKS.get(character) or ascii(character)[1:-1]


def _text(written: str | None, decoded: str) -> str:
    if written is None:
        return ""
    if not written.strip(_SPACE):
        return " " * len(written)
    if _BROKEN in decoded or not decoded:
        return written
    if written.startswith(_SPACE) and not decoded.startswith(" "):
        return " " + decoded
    return decoded


def _is_format(text: str) -> bool:
    word = text.strip().casefold()
    is_mark = len(word) == 1 and word in string.punctuation
    return not word or is_mark or word in ARTICLES or word in ANSWER_WORDS
