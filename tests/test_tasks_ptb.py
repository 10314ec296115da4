"""Properties of the tokeniser that hold for any text; its cases are in test_tasks_oracles."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core.tasks.ptb import tokenise

QUICK = settings(deadline=None, max_examples=60, derandomize=True)

REMOVED = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"}


@QUICK
@given(st.text(max_size=30))
def test_any_text_gives_clean_tokens(text):
    tokens = tokenise(text).split(" ") if tokenise(text) else []
    assert not REMOVED.intersection(tokens)
    assert "" not in tokens
    assert "\n" not in tokenise(text)


@QUICK
@given(st.lists(st.from_regex("[a-z]{2,8}", fullmatch=True), max_size=8))
def test_outer_and_repeated_spaces_do_not_count(words):
    assert tokenise("  " + "  ".join(words) + "\n") == tokenise(" ".join(words))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's dog can't fly!", "a man 's dog ca n't fly"),
        ('Cannot (really) go -- "no"...', "can not -lrb- really -rrb- go no"),
        ("St. John at 5 p.m. in the U.S.", "st. john at 5 p.m. in the u.s."),
        ("rock 'n' roll, '80s", "rock 'n' roll '80s"),
        ("3 1/2 cups", "3\xa01/2 cups"),
        ("line one\nline two\u2028three", "line one line two three"),
        ("", ""),
    ],
)
def test_examples(text, expected):
    assert tokenise(text) == expected


@pytest.mark.parametrize(
    "piece", ["a", ".", "'", "-", "a.", "a-", "1 ", "@", "a@", "/a", "<a ", ","]
)
def test_long_text_takes_no_long_time(piece):
    begin = time.process_time()
    tokenise(piece * 2000)
    assert time.process_time() - begin < 2.0
