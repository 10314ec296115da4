"""LLaVA: prompts encoded as the stock processor and model do; answers' ids in context."""

import pytest
import torch
from model_support import encode, ids_in_context, make_instances, prompts, stock_logits
from PIL import Image

from hones_core.models import load_model
from hones_core.models.adapter import (
    Adapter,
    ModelError,
    counted_positions,
    following_positions,
)

pytest_plugins = ["model_fixtures"]


@pytest.fixture(params=["tiny", "grouped"])
def model(request):
    return request.getfixturevalue(request.param)


def test_conversation_format(tiny):
    text = tiny.evaluator("vqa").text(make_instances("vqa")[0])
    assert text == (
        "USER: <image>\nQuestion: What color is the star? "
        "Answer the question briefly using one or a few words. ASSISTANT:"
    )


def test_input_ids_are_those_of_the_stock_processor(model):
    pairs = prompts(model)
    batch = encode(model, pairs)
    lengths = set()
    for row, (image, text) in enumerate(pairs):
        expected = model.inputs(image, text)["input_ids"][0]
        lengths.add(len(expected))
        padding = batch.input_ids.shape[1] - len(expected)
        assert torch.equal(batch.input_ids[row, padding:], expected)
        assert batch.attention_mask[row].tolist() == [0] * padding + [1] * len(expected)
        assert batch.positions[0, row, padding:].tolist() == list(range(len(expected)))
    assert len(lengths) > 3


@pytest.mark.parametrize("together", [True, False])
def test_logits_are_those_of_the_stock_forward(model, together):
    pairs = prompts(model)
    for group in [pairs] if together else [[pair] for pair in pairs]:
        batch = encode(model, group)
        with torch.no_grad():
            logits = model.adapter.logits(model.adapter.hidden_states(batch))
        for row, (image, text) in enumerate(group):
            expected = stock_logits(model, image, text)
            torch.testing.assert_close(
                logits[row, -len(expected) :], expected, atol=1e-5, rtol=1e-5
            )


def test_half_precision_logits_can_be_trained_on_after_inference(tiny):
    half = load_model(str(tiny.folder), "llava", "bfloat16", "cpu")
    states = torch.ones(1, 32, dtype=half.dtype)
    with torch.inference_mode():
        half.logits(states)
    scale = torch.ones(1, requires_grad=True)
    half.logits(scale * states).sum().backward()
    assert torch.isfinite(scale.grad).all()


def test_a_prompt_needs_one_image_placeholder(tiny):
    picture = [Image.new("RGB", (16, 16))]
    for text in ("USER: no image ASSISTANT:", "USER: <image> <image> ASSISTANT:"):
        with pytest.raises(ModelError, match="exactly one <image>"), torch.no_grad():
            tiny.adapter.encode(picture, [text])


@pytest.mark.parametrize("answer", ["red", "a very odd zebra", "K8X2", "Yes", "No", "5"])
def test_answer_ids_in_context(tiny, answer):
    text = tiny.evaluator("caption").text(make_instances("caption")[0])
    assert tiny.adapter.answer_ids(text, answer) == ids_in_context(tiny, text, answer)


class SpellingTokenizer:
    """One token a character, except that some pairs of characters are one token."""

    def __init__(self, *merges):
        self.merges = merges

    def __call__(self, text):
        for index, merge in enumerate(self.merges):
            text = text.replace(merge, chr(0xE000 + index))
        return {"input_ids": [ord(character) for character in text]}


def bare_adapter(tokenizer) -> Adapter:
    adapter = object.__new__(Adapter)
    adapter.tokenizer, adapter.separator = tokenizer, " "
    return adapter


def test_answer_ids_of_a_tokenizer_that_marks_words():
    """Like SentencePiece: the space belongs to the answer, which is one token in context."""
    adapter = bare_adapter(SpellingTokenizer(" Yes", " No"))
    assert adapter.answer_ids("A:", "Yes") == [0xE000]
    assert adapter.answer_ids("A:", "No") == [0xE001]
    assert adapter.answer_ids("A:", "So") == [ord(" "), ord("S"), ord("o")]


def test_an_answer_that_merges_with_the_prompt_is_refused():
    with pytest.raises(ModelError, match="merges the end of the prompt with the answer 'Yes'"):
        bare_adapter(SpellingTokenizer(": Y")).answer_ids("A:", "Yes")


def test_an_answer_without_tokens_is_refused(tiny):
    with pytest.raises(ModelError, match="has no tokens"):
        tiny.adapter.answer_ids("USER: <image>\nHow? ASSISTANT:", "")


@pytest.mark.parametrize(("value", "word"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_logits_that_are_not_finite(tiny, value, word):
    hidden = torch.ones(1, 32)
    hidden[0, 3] = value
    with pytest.raises(FloatingPointError, match="float32"):
        tiny.adapter.logits(hidden)
    logits = torch.zeros(2, 5)
    logits[1, 2] = value
    with pytest.raises(FloatingPointError, match=word):
        tiny.adapter.require_finite(logits)


def test_text_goes_on_from_the_largest_position_of_all_axes():
    positions = torch.tensor([[[0, 0, 1, 2], [0, 1, 2, 3]], [[0, 0, 1, 5], [0, 1, 1, 3]]])
    following = following_positions(positions, 2)
    assert following.tolist() == [[[6, 7], [4, 5]]] * 2
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    assert counted_positions(mask).tolist() == [[[0, 0, 0, 1], [0, 1, 2, 3]]]
