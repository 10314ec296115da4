"""Qwen2.5-VL: inputs, positions, logits, generation and heads as the stock classes have them."""

from itertools import pairwise

import pytest
import torch
from model_support import (
    edited,
    encode,
    head_edit,
    ids_in_context,
    make_instances,
    pictures,
    prompts,
    stock_logits,
    stock_tokens,
)
from PIL import Image
from qwen_support import LEAST, MERGE, MOST, PATCH, smart_size
from transformers import DynamicCache, Qwen2_5_VLProcessor
from transformers.utils import is_torchvision_available

from hones_core.engine.interventions import MeanReplaceHead, applied
from hones_core.engine.plain import force, forced_logprobs, greedy_config
from hones_core.models import load_model
from hones_core.models.adapter import Batch, ModelError, counted_positions, following_positions

pytest_plugins = ["model_fixtures"]

N_HEADS, N_LAYERS = 4, 2
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
GREY_LEVEL = 1 / 255 / 0.26  # in normalised pixel values


def last_logits(adapter, batch, **options):
    with torch.no_grad():
        return adapter.logits(adapter.hidden_states(batch, **options))


def generated(model, pairs, n: int = 6) -> list[list[int]]:
    """The tokens of the adapter's model for a batch, cut after the first end of the answer."""
    adapter = model.adapter
    inputs = adapter.inputs(pictures(model, pairs), [text for _, text in pairs])
    with torch.no_grad():
        tokens = adapter.model.generate(**inputs, generation_config=greedy_config(adapter, n))
    return [cut(row, adapter.stop_ids) for row in tokens[:, inputs["input_ids"].shape[1] :]]


def decoded(model, pairs, n: int = 6) -> list[list[int]]:
    """The same by an explicit loop over `hidden_states`, with a cache and explicit positions."""
    adapter, batch, cache = model.adapter, encode(model, pairs), DynamicCache()
    tokens = []
    for _ in range(n):
        chosen = last_logits(adapter, batch, cache=cache)[:, -1].argmax(-1, keepdim=True)
        tokens.append(chosen)
        mask = torch.cat([batch.attention_mask, torch.ones_like(chosen)], 1)
        positions = following_positions(batch.positions, 1)
        batch = Batch(adapter.embed(chosen), mask, chosen, positions)
    return [cut(row, adapter.stop_ids) for row in torch.cat(tokens, 1)]


def cut(row, stop) -> list[int]:
    tokens = row.tolist()
    ends = [place for place, token in enumerate(tokens) if token in stop]
    return tokens[: ends[0] + 1] if ends else tokens


def expected_tokens(model, pairs, stop=None) -> list[list[int]]:
    stop = stop or model.adapter.stop_ids
    return [stock_tokens(model, image, text, stop) for image, text in pairs]


def positions_by_hand(kinds: list[int], rows: int, columns: int) -> list[list[int]]:
    """Time, row and column of each token, from the paper's description of the scheme."""
    time, row, column = [], [], []
    text, seen = 0, 0
    for kind in kinds:
        if kind == 0:
            if seen == rows * columns:  # behind the image, text goes on from its larger side
                text, seen = text + max(rows, columns), 0
            here = (text, text, text)
            text += 1
        else:
            here = (text, text + seen // columns, text + seen % columns)
            seen += 1
        for axis, value in zip((time, row, column), here, strict=True):
            axis.append(value)
    return [time, row, column]


def test_conversation_format(tiny_qwen):
    text = tiny_qwen.evaluator("vqa").text(make_instances("vqa")[0])
    assert text == (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>"
        "Question: What color is the star? Answer the question with a short phrase.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_inputs_are_those_of_the_stock_processor(tiny_qwen):
    pairs = prompts(tiny_qwen)
    images, texts = pictures(tiny_qwen, pairs), [text for _, text in pairs]
    found = tiny_qwen.adapter.inputs(images, texts)
    stock = tiny_qwen.processor
    stock.tokenizer.padding_side = "left"
    expected = stock(images=images, text=texts, padding=True, return_tensors="pt")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert len(found["attention_mask"].sum(-1).unique()) > 3
    assert len(found["image_grid_thw"].unique(dim=0)) > 2  # different resolutions in one batch


@pytest.mark.skipif(
    not is_torchvision_available(),
    reason="the full processor, with videos, needs torchvision, which is not installed",
)
def test_inputs_are_those_of_the_full_processor(tiny_qwen):
    from transformers import Qwen2VLImageProcessor, Qwen2VLVideoProcessor

    pairs = prompts(tiny_qwen)
    images, texts = pictures(tiny_qwen, pairs), [text for _, text in pairs]
    full = Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor.from_pretrained(tiny_qwen.folder),
        tiny_qwen.processor.tokenizer,
        Qwen2VLVideoProcessor(patch_size=PATCH, merge_size=MERGE),
        chat_template=tiny_qwen.processor.chat_template,
    )
    full.tokenizer.padding_side = "left"
    expected = full(images=images, text=texts, padding=True, return_tensors="pt")
    found = tiny_qwen.adapter.inputs(images, texts)
    assert found.keys() == expected.keys()
    pixels, wanted = found.pop("pixel_values"), expected.pop("pixel_values")
    assert (pixels - wanted).abs().mean() < GREY_LEVEL  # another library's bicubic scaling
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def test_positions_by_hand(tiny_qwen):
    pairs = prompts(tiny_qwen)
    batch = encode(tiny_qwen, pairs)
    assert batch.positions.shape == (3, *batch.input_ids.shape)
    for row, (image, text) in enumerate(pairs):
        inputs = tiny_qwen.inputs(image, text)
        _, rows, columns = (inputs["image_grid_thw"][0] // MERGE).tolist()
        kinds = inputs["mm_token_type_ids"][0].tolist()
        assert sum(kinds) == rows * columns
        padding = batch.input_ids.shape[1] - len(kinds)
        assert not batch.positions[:, row, :padding].any()
        by_hand = positions_by_hand(kinds, rows, columns)
        assert batch.positions[:, row, padding:].tolist() == by_hand


@pytest.mark.parametrize("together", [True, False])
def test_logits_are_those_of_the_stock_forward(tiny_qwen, together):
    pairs = prompts(tiny_qwen)
    for group in [pairs] if together else [[pair] for pair in pairs]:
        logits = last_logits(tiny_qwen.adapter, encode(tiny_qwen, group))
        for row, (image, text) in enumerate(group):
            expected = stock_logits(tiny_qwen, image, text)
            torch.testing.assert_close(logits[row, -len(expected) :], expected, **CLOSE)


def test_positions_and_order_of_images_matter(tiny_qwen):
    """The comparisons above would notice counted positions, and features of another image."""
    pairs = prompts(tiny_qwen)[:3]
    batch = encode(tiny_qwen, pairs)
    logits = last_logits(tiny_qwen.adapter, batch)
    counted = Batch(
        batch.embeddings,
        batch.attention_mask,
        batch.input_ids,
        counted_positions(batch.attention_mask),
    )
    assert (last_logits(tiny_qwen.adapter, counted) - logits)[:, -1].abs().max() > 1e-2
    images = pictures(tiny_qwen, pairs)[:1] * 2
    images[1] = images[1].transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    with torch.no_grad():
        twice = tiny_qwen.adapter.encode(images, [pairs[0][1]] * 2)
    first, second = last_logits(tiny_qwen.adapter, twice)[:, -1]
    assert (first - second).abs().max() > 1e-2


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("cuts", [(1,), (30, 31, 60), (45, 50)])
def test_a_cached_continuation_in_parts(tiny_qwen, batch_size, cuts):
    """Three axes of positions survive batches of one and parts of one token."""
    batch = encode(tiny_qwen, prompts(tiny_qwen)[:batch_size])
    whole = last_logits(tiny_qwen.adapter, batch)
    cache, parts = DynamicCache(), []
    width = batch.input_ids.shape[1]
    for start, stop in pairwise([0, *cuts, width]):
        part = Batch(
            batch.embeddings[:, start:stop],
            batch.attention_mask[:, :stop],
            batch.input_ids[:, start:stop],
            batch.positions[..., start:stop],
        )
        parts.append(last_logits(tiny_qwen.adapter, part, cache=cache))
    real = batch.attention_mask.bool()
    torch.testing.assert_close(torch.cat(parts, 1)[real], whole[real], **CLOSE)


@pytest.mark.parametrize(
    ("height", "width"),
    [(16, 16), (1, 1), (3, 5), (17, 23), (8, 80), (9, 400), (333, 500), (13, 12), (20, 20)],
)
def test_image_tokens_of_odd_resolutions(tiny_qwen, height, width):
    adapter = tiny_qwen.adapter
    inputs = adapter.inputs([Image.new("RGB", (width, height))], [adapter.prompt("What?")])
    rows, columns = smart_size(height, width, PATCH * MERGE, LEAST, MOST)
    count = int((inputs["input_ids"] == adapter.image_token).sum())
    assert count == rows * columns == int(inputs["mm_token_type_ids"].sum())
    assert inputs["image_grid_thw"].tolist() == [[1, rows * MERGE, columns * MERGE]]
    with torch.no_grad():
        assert adapter.image_features(inputs).shape == (count, 32)


def test_a_strip_of_pixels_is_refused(tiny_qwen):
    strip = Image.new("RGB", (1000, 4))
    with pytest.raises(ModelError, match=r"1000 x 4 pixels .*aspect ratio"):
        tiny_qwen.adapter.inputs([strip], [tiny_qwen.adapter.prompt("What?")])


def test_a_prompt_needs_one_image_placeholder(tiny_qwen):
    adapter, image = tiny_qwen.adapter, Image.new("RGB", (16, 16))
    for text in ("no image", "<|image_pad|> <|image_pad|>", adapter.prompt("<|image_pad|>")):
        with pytest.raises(ModelError, match=r"exactly one <\|image_pad\|>"):
            adapter.inputs([image], [text])
    with pytest.raises(ModelError, match="2 images for 1 prompts"):
        adapter.inputs([image] * 2, [adapter.prompt("What?")])


def test_features_that_do_not_match_the_tokens_are_refused(tiny_qwen, monkeypatch):
    adapter, pair = tiny_qwen.adapter, prompts(tiny_qwen)[:1]
    features = adapter.image_features
    monkeypatch.setattr(adapter, "image_features", lambda inputs: features(inputs)[:-1])
    with pytest.raises(ModelError, match="4 image tokens for 3 image features"):
        encode(tiny_qwen, pair)


@pytest.mark.parametrize("answer", ["red", "a very odd zebra", "K8X2", "Yes", "No", "5"])
def test_answer_ids_in_context(tiny_qwen, answer):
    text = tiny_qwen.evaluator("caption").text(make_instances("caption")[0])
    ids = tiny_qwen.adapter.answer_ids(text, answer)
    assert ids == ids_in_context(tiny_qwen, text, answer)
    assert tiny_qwen.adapter.tokenizer.decode(ids) == answer


def test_stop_ids_are_the_checkpoints_and_its_penalty_is_not_used(tiny_qwen):
    ids = tiny_qwen.processor.tokenizer.convert_tokens_to_ids
    assert tiny_qwen.adapter.stop_ids == [ids("<|im_end|>"), ids("<|endoftext|>")]
    assert tiny_qwen.adapter.model.generation_config.repetition_penalty is None


def test_generate_and_explicit_decoding_are_stock_generate(tiny_qwen):
    pairs = prompts(tiny_qwen)
    expected = expected_tokens(tiny_qwen, pairs)
    assert len({tuple(row) for row in expected}) > 6
    assert generated(tiny_qwen, pairs) == expected
    assert decoded(tiny_qwen, pairs) == expected
    alone = [tokens for pair in pairs for tokens in decoded(tiny_qwen, [pair])]
    assert alone == expected


def test_answers_that_end_early(tiny_qwen, monkeypatch):
    pairs = prompts(tiny_qwen)[:3]
    stop = [*tiny_qwen.adapter.stop_ids, expected_tokens(tiny_qwen, pairs)[0][2]]
    monkeypatch.setattr(tiny_qwen.adapter, "stop_ids", stop)
    expected = expected_tokens(tiny_qwen, pairs)
    assert len(expected[0]) <= 3
    assert generated(tiny_qwen, pairs) == expected == decoded(tiny_qwen, pairs)


def test_the_models_memory_of_an_earlier_prompt_never_counts(tiny_qwen):
    """`generate` leaves `rope_deltas` on the model: other prompts, images and calls ignore it."""
    adapter, inner = tiny_qwen.adapter, tiny_qwen.adapter.model.model
    pairs = [*prompts(tiny_qwen)[:2], ("5.png", adapter.prompt("Is there a sign?"))]
    expected = [expected_tokens(tiny_qwen, [pair])[0] for pair in pairs]
    logits = [stock_logits(tiny_qwen, *pair)[-1] for pair in pairs]
    text_ids = tiny_qwen.processor.tokenizer("a red star on the left", return_tensors="pt")
    with torch.no_grad():
        text_logits = tiny_qwen.stock(**text_ids).logits
    for poison in (None, torch.tensor([[50]])):
        for order in ((0, 1, 2), (2, 0, 1), (1, 1, 0)):
            for index in order:
                inner.rope_deltas = poison
                assert generated(tiny_qwen, [pairs[index]]) == [expected[index]]
                assert inner.rope_deltas is not None  # what the stock code leaves behind
                other = pairs[order[0]]
                found = last_logits(tiny_qwen.adapter, encode(tiny_qwen, [other]))[0, -1]
                assert inner.rope_deltas is None
                torch.testing.assert_close(found, logits[order[0]], **CLOSE)
                inner.rope_deltas = poison
                found = text_only(adapter, text_ids)
                torch.testing.assert_close(found, text_logits, **CLOSE)
    inner.rope_deltas = torch.tensor([[50]])
    assert decoded(tiny_qwen, pairs) == expected
    adapter.forget()
    with torch.no_grad():
        torch.testing.assert_close(adapter.model(**text_ids).logits, text_logits, **CLOSE)


def text_only(adapter, tokens):
    """Logits of a text without an image: a single axis of positions serves for all three."""
    ids, mask = tokens["input_ids"], tokens["attention_mask"]
    return last_logits(adapter, Batch(adapter.embed(ids), mask, ids, counted_positions(mask)))


@pytest.mark.parametrize("positions", ["all", "last"])
def test_every_query_head_replaced(tiny_qwen, positions):
    """Four query heads on two key-value heads: prefill and decoding against explicit hooks."""
    pairs = prompts(tiny_qwen)[:3]
    base = generated(tiny_qwen, pairs)
    changed = 0
    for layer in range(N_LAYERS):
        for head in range(N_HEADS):
            with applied(tiny_qwen.adapter, MeanReplaceHead(layer, head, positions)):
                found = generated(tiny_qwen, pairs)
                assert decoded(tiny_qwen, pairs) == found
                logits = last_logits(tiny_qwen.adapter, encode(tiny_qwen, pairs))
            edit = head_edit(head, N_HEADS, None if positions == "all" else -1)
            with edited(tiny_qwen, layer, "heads", edit):
                assert found == expected_tokens(tiny_qwen, pairs)
                for row, pair in enumerate(pairs):
                    expected = stock_logits(tiny_qwen, *pair)[-1]
                    torch.testing.assert_close(logits[row, -1], expected, **CLOSE)
            changed += found != base
    assert changed > N_LAYERS * N_HEADS / 2


def test_teacher_forcing(tiny_qwen):
    """Targets go on from the largest position of the prompt, on all three axes."""
    pairs = prompts(tiny_qwen)[:4]
    targets = [
        tiny_qwen.adapter.answer_ids(text, answer)
        for (_, text), answer in zip(pairs, ["red", "no", "a very odd zebra", "EXIT"], strict=True)
    ]
    with torch.no_grad():
        forced = force(tiny_qwen.adapter, encode(tiny_qwen, pairs), targets)
        means, firsts = forced_logprobs(tiny_qwen.adapter, forced)
    for row, (image, text) in enumerate(pairs):
        ids = targets[row]
        logits = stock_logits(tiny_qwen, image, text, ids)[-len(ids) - 1 : -1]
        logprobs = logits.double().log_softmax(-1)[torch.arange(len(ids)), ids]
        assert means[row].item() == pytest.approx(logprobs.mean().item(), abs=1e-5)
        assert firsts[row].item() == pytest.approx(logprobs[0].item(), abs=1e-5)


def test_bounds_of_the_images_sizes(tiny_qwen):
    image = Image.new("RGB", (40, 40))

    def tokens(**bounds) -> int:
        adapter = load_model(str(tiny_qwen.folder), "qwen2_5_vl", device="cpu", **bounds)
        inputs = adapter.inputs([image], [adapter.prompt("What?")])
        return int(inputs["mm_token_type_ids"].sum())

    assert tokens() == 9  # 25 would be 1600 pixels, the checkpoint's bound is 640
    assert tokens(max_pixels=1600) == 25
    assert tokens(max_pixels=256) == 4
    assert tokens(min_pixels=6400, max_pixels=6400) == 100
