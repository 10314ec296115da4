"""BLEU-4 against a slow transcription and sacreBLEU, its additive statistics, its properties."""

import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from hones_core.tasks import caption
from hones_core.tasks.ptb import tokenise

QUICK = settings(deadline=None, max_examples=60, derandomize=True)

words = st.sampled_from(["a", "cat", "sits", "on", "the", "mat", "two", "cats."])
sentences = st.lists(words, max_size=9).map(" ".join)
reference_lists = st.lists(sentences, min_size=1, max_size=4)
corpora = st.lists(st.tuples(sentences, reference_lists), min_size=1, max_size=6)


def slow_bleu4(corpus: list[tuple[str, list[str]]]) -> float:
    """The COCO evaluation's formula, n-gram by n-gram."""
    matches, guesses = [0] * 4, [0] * 4
    length = reference_length = 0
    for hypothesis, references in corpus:
        tokens = tokenise(hypothesis).split()
        others = [tokenise(reference).split() for reference in references]
        length += len(tokens)
        reference_length += min((abs(len(o) - len(tokens)), len(o)) for o in others)[1]
        for order in range(1, 5):
            ngrams = [tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1)]
            guesses[order - 1] += len(ngrams)
            for ngram in set(ngrams):
                most = max(
                    sum(tuple(o[i : i + order]) == ngram for i in range(len(o))) for o in others
                )
                matches[order - 1] += min(ngrams.count(ngram), most)
    bleu = 1.0
    for matched, guessed in zip(matches, guesses, strict=True):
        bleu *= (matched + 1e-15) / (guessed + 1e-9)
    bleu **= 1 / 4
    ratio = (length + 1e-15) / (reference_length + 1e-9)
    return bleu * math.exp(1 - 1 / ratio) if ratio < 1 else bleu


def corpus_score(corpus) -> float:
    """As the tables have it: from the sum of the captions' statistics."""
    rows = [caption.bleu_statistics(*pair) for pair in corpus]
    return caption.score(np.sum(rows, axis=0), len(corpus))


@QUICK
@given(corpora)
def test_corpus_bleu_equals_transcription(corpus):
    assert corpus_score(corpus) == pytest.approx(slow_bleu4(corpus), rel=1e-9, abs=1e-300)


@QUICK
@given(sentences, reference_lists)
def test_sentence_bleu_is_the_corpus_formula_on_one(hypothesis, references):
    expected = slow_bleu4([(hypothesis, references)])
    assert caption.sentence_bleu4(hypothesis, references) == pytest.approx(expected, abs=1e-300)


@QUICK
@given(corpora)
def test_bounded_and_independent_of_order(corpus):
    score = corpus_score(corpus)
    assert 0.0 <= score <= 1.0
    turned = [(hypothesis, references[::-1]) for hypothesis, references in reversed(corpus)]
    assert corpus_score(turned) == pytest.approx(score, rel=1e-12)


def test_resampled_scores_equal_direct_ones():
    corpus = [
        ("a cat sits on the mat", ["the cat sits on a mat", "a cat on the mat"]),
        ("two cats", ["two cats sit", "cats"]),
        ("the mat", ["a cat sits on the mat and looks"]),
    ]
    rows = np.array([caption.bleu_statistics(*pair) for pair in corpus])
    samples = np.random.default_rng(0).integers(3, size=(40, 3))
    scores = caption.score(rows[samples].sum(axis=1), 3)
    direct = [corpus_score([corpus[i] for i in sample]) for sample in samples]
    assert scores == pytest.approx(direct, rel=1e-12)


@QUICK
@given(corpora)
def test_statistics_equal_sacrebleu(corpus):
    metric = sacrebleu.metrics.BLEU(
        tokenize="none", smooth_method="none", effective_order=False, force=True
    )
    hypotheses = [" ".join(tokenise(h).split()) for h, _ in corpus]
    most = max(len(r) for _, r in corpus)
    streams = [
        [tokenise(r[stream]) if stream < len(r) else None for _, r in corpus]
        for stream in range(most)
    ]
    expected = metric.corpus_score(hypotheses, streams)
    found = np.sum([caption.bleu_statistics(*pair) for pair in corpus], axis=0)
    assert found[:4].tolist() == expected.counts
    assert found[4:8].tolist() == expected.totals
    assert found[8:].tolist() == [expected.sys_len, expected.ref_len]
    if all(expected.counts):
        assert corpus_score(corpus) == pytest.approx(expected.score / 100, abs=1e-8)


def test_worked_example():
    statistics = caption.bleu_statistics("the the the cat", ["the cat sat", "the the dog runs on"])
    assert dict(zip(caption.STATISTICS, statistics, strict=True)) == {
        "matches_1": 3.0,
        "matches_2": 2.0,
        "matches_3": 0.0,
        "matches_4": 0.0,
        "totals_1": 4.0,
        "totals_2": 3.0,
        "totals_3": 2.0,
        "totals_4": 1.0,
        "hypothesis_length": 4.0,
        "closest_reference_length": 3.0,
    }


def test_perfect_and_empty():
    text = "A man's dog can't sit on the mat."
    assert corpus_score([(text, [text])]) == pytest.approx(1.0, abs=1e-8)
    assert corpus_score([("", [text])]) == 0.0


def test_refuses_what_cannot_be_scored():
    with pytest.raises(ValueError, match="at least one instance"):
        caption.score(np.zeros(10), 0)
    with pytest.raises(ValueError, match="at least one reference"):
        caption.sentence_bleu4("a", [])
    with pytest.raises(ValueError, match="not the string"):
        caption.sentence_bleu4("a", "a")
