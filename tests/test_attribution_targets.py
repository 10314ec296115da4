"""Target directions and IDF against plain transcriptions."""

import math

import pytest
import torch
from model_support import CAPTIONS, ids_in_context, instance, make_instances

from hones_core.attribution.neuron_effects import target_directions
from hones_core.attribution.targets import InverseDocumentFrequency, target_direction

pytest_plugins = ["model_fixtures"]


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(value**2 for value in vector))
    return [value / length for value in vector]


def direction_by_hand(unembedding, tokens, weight) -> torch.Tensor:
    total = [0.0] * unembedding.shape[1]
    for token in tokens:
        for place, value in enumerate(unembedding[token].tolist()):
            total[place] += weight(token) * value
    return torch.tensor(unit(total))


def test_fixed_target_is_the_normalised_mean_with_repetitions():
    unembedding = torch.randn(9, 5)
    tokens = [3, 7, 3]
    found = target_direction(unembedding, [tokens])
    torch.testing.assert_close(found, direction_by_hand(unembedding, tokens, lambda _: 1 / 3))
    assert found.norm().item() == pytest.approx(1)
    assert not torch.allclose(found, direction_by_hand(unembedding, [3, 7], lambda _: 0.5))


def test_direction_is_float32_whatever_the_type_of_the_unembedding():
    unembedding = torch.randn(9, 5).half()
    found = target_direction(unembedding, [[1, 2]])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, direction_by_hand(unembedding.float(), [1, 2], lambda _: 0.5))


def test_idf_counts_documents_not_tokens():
    idf = InverseDocumentFrequency([[1, 1, 1, 2], [1, 3], [2, 1]])
    assert idf(1) == pytest.approx(math.log(4 / 4) + 1)
    assert idf(2) == pytest.approx(math.log(4 / 3) + 1)
    assert idf(3) == pytest.approx(math.log(4 / 2) + 1)
    assert idf(99) == pytest.approx(math.log(4 / 1) + 1)  # unseen: df 0
    assert idf(99) == idf(99)  # asking does not count it
    assert InverseDocumentFrequency(iter([[5]]))(5) == 1


@pytest.mark.parametrize("idf_tokens", ["all", "unique"])
def test_open_ended_target(idf_tokens):
    unembedding = torch.randn(9, 5)
    idf = InverseDocumentFrequency([[1, 2], [1, 3]])
    texts = [[1, 2, 8], [2, 2, 1]]
    tokens = {"all": [1, 2, 8, 2, 2, 1], "unique": [1, 2, 8]}[idf_tokens]
    weights = {1: 1.0, 2: math.log(3 / 2) + 1, 8: math.log(3) + 1}
    found = target_direction(unembedding, texts, idf, idf_tokens)
    torch.testing.assert_close(found, direction_by_hand(unembedding, tokens, weights.get))


def test_target_without_tokens():
    with pytest.raises(ValueError, match="without tokens"):
        target_direction(torch.randn(3, 2), [[]])


def test_directions_of_the_tasks(tiny):
    """VQA: the most common answer; OCR: the transcription; retrieval: Yes, of the positive."""
    targets = {
        "vqa": ["red", "no", "a very odd zebra"],
        "ocr": ["K8", "EXIT NOW", "b"],
        "retrieval": ["Yes"] * 3,
    }
    unembedding = tiny.stock.lm_head.weight.detach()
    for task, answers in targets.items():
        evaluator = tiny.evaluator(task)
        instances = make_instances(task)
        found = target_directions(evaluator, instances, documents=[])
        for row, (item, answer) in enumerate(zip(instances, answers, strict=True)):
            ids = ids_in_context(tiny, evaluator.text(item), answer)
            expected = direction_by_hand(unembedding, ids, lambda _: 1.0)
            torch.testing.assert_close(found[row], expected)


def test_caption_directions_count_all_documents_not_only_the_sample(tiny):
    another = instance("caption", 9, references=(CAPTIONS[0],) * 5)
    documents = [*make_instances("caption", 3), another]
    evaluator = tiny.evaluator("caption")
    sample = documents[:2]
    found = target_directions(evaluator, sample, documents)
    token_lists = []
    for item in documents:
        text = evaluator.text(item)
        token_lists.append([t for ref in item.references for t in ids_in_context(tiny, text, ref)])

    def idf(token):
        df = sum(token in tokens for tokens in token_lists)
        return math.log((4 + 1) / (df + 1)) + 1

    unembedding = tiny.stock.lm_head.weight.detach()
    for row in range(2):
        expected = direction_by_hand(unembedding, token_lists[row], idf)
        torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)
    other = target_directions(evaluator, sample, sample)
    assert not torch.allclose(found, other, atol=1e-5)
