"""Every metric against scores that public reference implementations gave."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from hones_core.tasks import caption, ocr, ptb, retrieval, vqa

SMALL = Path(__file__).parent / "oracles"
# Whether the reference keeps the full stop of an initial that ends a line depends on the next line,
# which may be another image's caption.
ENDS_WITH_INITIAL = re.compile(r"\b[A-Za-z]\.\s*$")
LARGE = Path(__file__).resolve().parents[2] / "shared" / "oracles"


def large_oracle(name: str) -> dict:
    path = LARGE / name
    if not path.exists():
        pytest.skip(f"the large oracle shared/oracles/{name} is not beside this checkout")
    return json.loads(path.read_text(encoding="utf-8"))


def small_oracle(name: str) -> dict:
    return json.loads((SMALL / name).read_text(encoding="utf-8"))


def wrong_tokens(pairs: list[list[str]]) -> list[tuple[str, str, str]]:
    found = ((line, expected, ptb.tokenise(line)) for line, expected in pairs)
    return [case for case in found if case[1] != case[2]]


def test_ptb_tokens_small():
    assert wrong_tokens(small_oracle("ptb_tokens.json")["pairs"]) == []


@pytest.mark.parametrize("group", ["coco_captions", "textvqa_questions", "probes"])
def test_ptb_tokens(group):
    oracle = large_oracle("ptb_tokens.json")
    first, last = oracle["groups"][group]
    assert last > first
    assert wrong_tokens(oracle["pairs"][first:last]) == []


def corpus_bleu4(pairs: list[tuple[str, list[str]]]) -> float:
    """As the tables have it: from the sum of the captions' statistics."""
    rows = [caption.bleu_statistics(*pair) for pair in pairs]
    return caption.score(np.sum(rows, axis=0), len(pairs))


def test_bleu_small():
    oracle = small_oracle("caption_bleu.json")
    pairs = list(zip(oracle["hypotheses"], oracle["references"], strict=True))
    assert corpus_bleu4(pairs) == pytest.approx(oracle["corpus_bleu4"], abs=1e-12)
    per_image = [caption.sentence_bleu4(*pair) for pair in pairs]
    assert per_image == pytest.approx(oracle["per_image_bleu4"], abs=1e-12)


def assert_bleu(
    hypotheses: dict[str, str], references: dict[str, list[str]], expected: dict
) -> None:
    corpus = corpus_bleu4([(text, references[image]) for image, text in hypotheses.items()])
    assert corpus == pytest.approx(expected["corpus_bleu"][3], abs=1e-9)
    for image in hypotheses:
        assert caption.sentence_bleu4(hypotheses[image], references[image]) == pytest.approx(
            expected["per_image_bleu4"][image], abs=1e-9
        )


def test_bleu_of_every_system():
    oracle = large_oracle("caption_bleu.json")
    for system in oracle["systems"].values():
        assert_bleu(system["hypotheses"], oracle["references"], system)


def test_bleu_of_every_leave_one_out_run():
    oracle = large_oracle("caption_bleu.json")
    for left_out, expected in oracle["leave_one_out"].items():
        index = int(left_out)
        hypotheses = {image: texts[index] for image, texts in oracle["references"].items()}
        references = {
            image: texts[:index] + texts[index + 1 :]
            for image, texts in oracle["references"].items()
        }
        assert_bleu(hypotheses, references, expected)


def test_caption_tokens_of_the_bleu_oracle():
    oracle = large_oracle("caption_bleu.json")
    lines = []
    for image, references in oracle["references"].items():
        lines += zip(references, oracle["references_tokenised"][image], strict=True)
    for system in oracle["systems"].values():
        for image, text in system["hypotheses"].items():
            lines.append((text, system["hypotheses_tokenised"][image]))
    for text, expected in lines:
        if not ENDS_WITH_INITIAL.search(text):
            assert ptb.tokenise(text) == expected


def test_vqa_accuracy():
    cases = large_oracle("vqa_accuracy.json")["cases"]
    assert cases
    for case in cases:
        asked = case["prediction"], case["answers"]
        assert vqa.vqa_accuracy(*asked) == pytest.approx(
            case["variant_always_normalised"], abs=1e-12
        ), case
        assert vqa.vqa_accuracy_2021(*asked) == pytest.approx(
            case["expected_accuracy"], abs=1e-12
        ), case


def test_vqa_normal_form():
    for case in large_oracle("vqa_accuracy.json")["cases"]:
        if len({answer.strip() for answer in case["answers"]}) > 1:  # else nothing is normalised
            assert vqa.normalise(case["prediction"]) == case["expected_compared_prediction"]
            normalised = [vqa.normalise(answer) for answer in case["answers"]]
            assert normalised == case["expected_compared_answers"]


def test_anls():
    cases = large_oracle("ocr_anls.json")["cases"]
    assert cases
    for case in cases:
        assert ocr.anls(case["prediction"], case["references"]) == pytest.approx(
            case["expected_rrc_ge"], abs=1e-12
        ), case


TIE_RULES = {
    "pessimistic": "pessimistic",
    "optimistic": "optimistic",
    "stable_first_index": "stable",
    "sklearn_tie_averaged": "average",
}


def read_scores(raw: list) -> list[float]:
    return [math.nan if value is None else float(value) for value in raw]


@pytest.mark.parametrize("column", TIE_RULES)
def test_ndcg(column):
    cases = large_oracle("retrieval_ndcg.json")["cases"]
    checked = 0
    for case in cases:
        scores = read_scores(case["scores"])
        if np.isnan(scores).any() or case[column] is None:
            continue
        found = retrieval.ndcg(scores, case["positive_index"], case["k"], TIE_RULES[column])
        assert found == pytest.approx(case[column], abs=1e-12), case
        checked += 1
    assert checked > 100


def test_ndcg_refuses_every_case_with_nan():
    cases = large_oracle("retrieval_ndcg.json")["cases"]
    with_nan = [case for case in cases if None in case["scores"]]
    assert with_nan
    for case in with_nan:
        with pytest.raises(ValueError, match="NaN"):
            retrieval.ndcg(read_scores(case["scores"]), case["positive_index"], case["k"])
