"""The further families: inputs and logits of the stock classes, equal engines, and refusals."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from engine_support import ENGINES, draw_photographs, random_instances, remembered, watched
from families_support import (
    MAKERS,
    PINPOINTS,
    SIDE,
    image_tokenizer,
    make_tiny_family,
    random_llava_next,
    random_onevision,
    random_qwen2_vl,
    random_qwen3_vl,
    save_llava,
    save_qwen,
)
from model_support import encode, pictures, prompts, stock_logits, stock_tokens
from PIL import Image
from transformers import (
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextModel,
    LlavaOnevisionConfig,
    LlavaOnevisionModel,
    MistralConfig,
)

from hones_core.engine.plain import greedy_config
from hones_core.engine.selfcheck import check_model
from hones_core.engine.shapes import image_tokens, shape_from_config, shape_of
from hones_core.heads import measure_head_effects
from hones_core.models import load_model
from hones_core.models.adapter import ModelError
from hones_core.models.checkpoint import check_checkpoint, find_checkpoint
from hones_core.models.llava_next import count_features
from hones_core.models.loading import ARCHITECTURES, FAMILIES, UNSUPPORTED
from hones_core.models.qwen2_5_vl import Qwen2_5_VLAdapter
from hones_core.tasks import TASKS

CLOSE = {"atol": 1e-5, "rtol": 1e-5}
SAMPLES = 6
# Height and width: square, flat, high, one pixel, smaller and larger than all crops together.
SIZES = [(16, 16), (9, 40), (40, 9), (1, 1), (5, 7), (33, 31), (31, 64), (90, 101), (7, 300)]


@pytest.fixture(scope="module", params=MAKERS)
def model(request, tmp_path_factory):
    """A tiny random model of each family."""
    return make_tiny_family(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["llava_next", "llava_onevision"])
def packed(request, tmp_path_factory):
    """Those whose image features are packed from crops."""
    return make_tiny_family(request.param, tmp_path_factory.mktemp(f"packed_{request.param}"))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    return draw_photographs(tmp_path_factory.mktemp("photographs"), SAMPLES)


def final_logits(adapter, batch) -> torch.Tensor:
    with torch.no_grad():
        return adapter.logits(adapter.hidden_states(batch))


def refusal(folder, family: str) -> str:
    with pytest.raises(ModelError) as error:
        load_model(str(folder), family, device="cpu")
    return str(error.value)


def saved(model, folder, save=save_llava):
    """The folder with the checkpoint of a model."""
    save(model, folder)
    return folder


def edit_json(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


FORMATS = {
    "qwen2_vl": (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
        "<|vision_start|><|image_pad|><|vision_end|>Why?<|im_end|>\n<|im_start|>assistant\n",
        "",
    ),
    "llava_next": ("[INST] <image>\nWhy? [/INST]", " "),
    "llava_onevision": ("<|im_start|>user <image>\nWhy?<|im_end|><|im_start|>assistant\n", ""),
}


def test_conversation_format(model):
    """The chat template of the language model; a start that the tokenizer adds is not written."""
    adapter = object.__new__(type(model.adapter))  # as the preflight asks, without weights
    adapter.tokenizer = model.adapter.tokenizer
    prompt, separator = FORMATS[adapter.family]
    assert (adapter.prompt("Why?"), adapter.separator) == (prompt, separator)
    ids = adapter.tokenizer(prompt)["input_ids"]
    assert ids.count(adapter.tokenizer.bos_token_id) <= 1
    answer = adapter.answer_ids(prompt, "a red star")
    assert ids + answer == adapter.tokenizer(f"{prompt}{separator}a red star")["input_ids"]


def test_inputs_are_those_of_the_stock_processor(model):
    pairs = prompts(model)
    images, texts = pictures(model, pairs), [text for _, text in pairs]
    found = model.adapter.inputs(images, texts)
    stock = model.processor
    stock.tokenizer.padding_side = "left"
    expected = stock(images=images, text=texts, padding=True, return_tensors="pt")
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name
    assert len(found["attention_mask"].sum(-1).unique()) > 3


@pytest.mark.parametrize("together", [True, False])
def test_logits_are_those_of_the_stock_forward(model, together):
    pairs = prompts(model)
    for group in [pairs] if together else [[pair] for pair in pairs]:
        logits = final_logits(model.adapter, encode(model, group))
        for row, (image, text) in enumerate(group):
            expected = stock_logits(model, image, text)
            torch.testing.assert_close(logits[row, -len(expected) :], expected, **CLOSE)


def test_generated_answers_are_those_of_the_stock_model(model):
    pairs, adapter = prompts(model)[::3], model.adapter
    inputs = adapter.inputs(pictures(model, pairs), [text for _, text in pairs])
    with torch.no_grad():
        tokens = adapter.model.generate(**inputs, generation_config=greedy_config(adapter, 6))
    for (image, text), row in zip(pairs, tokens[:, inputs["input_ids"].shape[1] :], strict=True):
        expected = stock_tokens(model, image, text, adapter.stop_ids)
        assert row.tolist()[: len(expected)] == expected


def test_the_image_matters(model):
    pairs = prompts(model)[:1]
    images, texts = pictures(model, pairs), [text for _, text in pairs]
    images += [images[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
    with torch.no_grad():
        first, second = final_logits(model.adapter, model.adapter.encode(images, texts * 2))[:, -1]
    assert (first - second).abs().max() > 1e-2


def test_a_model_passes_its_check(model):
    check_model(model.adapter)


@pytest.mark.parametrize("task", TASKS)
def test_every_head_by_both_engines(model, photographs, task, monkeypatch):
    """Answers and utilities are the same, log-probabilities to 1e-5."""
    for name in ("inputs", "encode"):
        monkeypatch.setattr(model.adapter, name, remembered(getattr(model.adapter, name)))
    pictured, instances = replace(model, images=photographs), random_instances(task, SAMPLES)
    found = {}
    for engine in ENGINES:
        evaluator = watched(pictured, task, engine, batch_size=SAMPLES, max_new_tokens=4)
        found[engine] = measure_head_effects(evaluator, instances), evaluator.seen
    (fast, seen), (plain, expected) = found["fast"], found["plain"]
    assert len(fast) == (2 * 4 + 1) * SAMPLES
    for one, other in zip(seen, expected, strict=True):
        if task == "retrieval":
            assert one.margins == pytest.approx(other.margins, abs=1e-5)
        else:
            assert one.tokens == other.tokens
    for column in ("layer", "head", "instance_id", "utility"):
        assert fast[column].tolist() == plain[column].tolist()
    for column in ("target_logprob", "first_token_logprob"):
        assert fast[column].tolist() == pytest.approx(plain[column].tolist(), abs=1e-5)
    assert plain["target_logprob"].nunique() > 2 * SAMPLES  # heads change something


def test_the_plan_knows_the_model_from_its_config(model):
    config = json.loads((model.folder / "config.json").read_text())
    ours, expected = shape_of(model.adapter), shape_from_config(config, "float32")
    assert replace(ours, vision=0) == replace(expected, vision=0)
    usual, largest = image_tokens(config)
    if model.adapter.family != "qwen2_vl":  # its size is bounded by the image processor alone
        for side, count in ((480, usual), (640, largest)):
            inputs = model.adapter.inputs(
                [Image.new("RGB", (640, side))], [model.adapter.prompt("")]
            )
            assert int((inputs["input_ids"] == model.adapter.image_token).sum()) == count


def test_image_tokens_of_odd_sizes(packed):
    """As many as the stock processor counts, and as many as there are features."""
    adapter, stock = packed.adapter, packed.processor
    text = adapter.prompt("What?")
    for height, width in SIZES:
        image = Image.new("RGB", (width, height))
        inputs = adapter.inputs([image], [text])
        expected = stock(images=[image], text=[text], return_tensors="pt")["input_ids"]
        assert torch.equal(inputs["input_ids"], expected)
        with torch.no_grad():
            features = adapter.image_features(inputs)
        assert len(features) == int((expected == adapter.image_token).sum())


def test_image_tokens_of_the_real_configs():
    """By hand: 640 x 480 fills 36 of 48 rows of 2 x 2 crops of 24 x 24 patches; one more a row."""
    sparse = {"text_config": {"model_type": "llama"}, "image_token_index": 32000}
    found = count_features(LlavaNextModel, LlavaNextConfig(**sparse), 480, 640)
    assert found == 24 * 24 + 36 * (48 + 1)
    found = count_features(LlavaOnevisionModel, LlavaOnevisionConfig(), 480, 640)
    assert found == 27 * 27 + 40 * (54 + 1)  # 40.5 rows, of which padding takes an even number
    real = {"model_type": "llava_next", "vision_config": None, **sparse}
    assert image_tokens(real) == (24 * 24 + 36 * (48 + 1), 24 * 24 + 48 * (48 + 1))


def test_prompts_need_one_image_each(model):
    adapter, image = model.adapter, Image.new("RGB", (16, 16))
    for text in ("no image", adapter.placeholder * 2):
        with pytest.raises(ModelError, match="exactly one"):
            adapter.inputs([image], [text])
    with pytest.raises(ModelError, match="2 images for 1 prompts"):
        adapter.inputs([image] * 2, [adapter.prompt("What?")])


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_half_precision_is_near(model, dtype, step):
    half = load_model(str(model.folder), model.adapter.family, dtype, "cpu")
    check_model(half)
    pair = prompts(model)[:1]
    with torch.no_grad():
        batch = half.encode(pictures(model, pair), [text for _, text in pair])
    assert batch.embeddings.dtype == half.dtype
    expected = stock_logits(model, *pair[0])
    assert (final_logits(half, batch)[0] - expected).abs().max() < 30 * step * expected.abs().max()


def test_a_llama_as_language_model(tmp_path):
    """As in the checkpoints made from Vicuna."""
    adapter = load_model(str(saved(random_llava_next(LlamaConfig), tmp_path)), "llava_next")
    check_model(adapter)


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "qwen2_vl"])
def test_qwen3_vl_is_refused_for_its_deepstack_features(tmp_path, family):
    folder = saved(random_qwen3_vl(), tmp_path, save_qwen)
    message = refusal(folder, family)
    assert "Qwen3VLForConditionalGeneration, which is not supported" in message
    assert "deepstack features are added to the outputs of the first decoder layers" in message
    if family in FAMILIES:
        config, _ = check_checkpoint("m", family, find_checkpoint(str(folder)))
        assert "deepstack" in config.detail and config.status == "failed"


def test_qwen3_vl_would_be_scored_wrongly(tmp_path):
    """The self-check's prompts have no image: it cannot see what the refusal knows."""
    model = random_qwen3_vl()
    model.config.text_config.layer_types = ["full_attention"] * 2
    save_qwen(random_qwen2_vl(), tmp_path)
    parts = load_model(str(tmp_path), "qwen2_vl", device="cpu")
    adapter = Qwen2_5_VLAdapter(model, parts.tokenizer, parts.image_processor)
    check_model(adapter)
    inputs = adapter.inputs([Image.new("RGB", (16, 16), "red")], [adapter.prompt("Why?")])
    with torch.no_grad():
        stock = model(**inputs).logits
        features = model.model.get_image_features(
            inputs["pixel_values"], inputs["image_grid_thw"], return_dict=True
        )
    assert len(features.deepstack_features) == 1
    adapter.forget()
    ours = final_logits(
        adapter, adapter.encode([Image.new("RGB", (16, 16), "red")], [adapter.prompt("Why?")])
    )
    assert (ours - stock)[:, -1].abs().max() > 1e-2


def test_an_architecture_that_nobody_has_heard_of(tmp_path):
    folder = saved(random_onevision(), tmp_path)
    edit_json(folder / "config.json", architectures=["PaliGemmaForConditionalGeneration"])
    for family in ("paligemma", "llava_onevision"):
        message = refusal(folder, family)
        assert "PaliGemmaForConditionalGeneration, which is not known here" in message
        assert "a subclass of Adapter and a line in FAMILIES; CONTRIBUTING.md" in message


def test_the_family_of_another_checkpoint_is_named(model):
    own = model.adapter.family
    for family in FAMILIES:
        if family != own:
            assert f"whose family is {own}" in refusal(model.folder, family)
    assert not set(ARCHITECTURES.values()) & UNSUPPORTED.keys()


def test_every_family_s_architecture_is_its_class():
    found = {family: classes()[0].__name__ for family, classes in FAMILIES.items()}
    assert found == ARCHITECTURES


def test_a_window_of_attention_is_refused(tmp_path):
    def windowed(**sizes):
        return MistralConfig(**(sizes | {"sliding_window": 8}))

    adapter = load_model(str(saved(random_llava_next(windowed), tmp_path)), "llava_next")
    with pytest.raises(ModelError, match="sliding window of 8 tokens"):
        check_model(adapter)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_feature_select_strategy": "full"}, "can only be packed with 'default'"),
        ({"image_grid_pinpoints": PINPOINTS[:2]}, "image tokens would not match features"),
    ],
)
def test_crops_that_cannot_be_packed(tmp_path, changes, message):
    assert message in refusal(saved(random_llava_next(**changes), tmp_path), "llava_next")


def test_packing_that_the_model_does_not_know(tmp_path):
    folder = saved(random_onevision(vision_aspect_ratio="square"), tmp_path)
    assert "cannot pack its images' crops" in refusal(folder, "llava_onevision")


def test_an_image_processor_or_tokenizer_of_another_model(packed, tmp_path):
    folder, family = shutil.copytree(packed.folder, tmp_path / "model"), packed.adapter.family
    name = "preprocessor_config.json"
    half = {"height": SIDE // 2, "width": SIDE // 2}
    edit_json(folder / name, size=half, crop_size=half)
    assert f"the vision tower reads {SIDE} x {SIDE}" in refusal(folder, family)
    edit_json(folder / name, image_grid_pinpoints=[[24, 24]])
    edit_json(folder / "config.json", image_grid_pinpoints=[[24, 24]])
    assert "[[24, 24]] are not whole crops of 16 pixels" in refusal(folder, family)
    (folder / "chat_template.jinja").unlink()
    image_tokenizer(None).save_pretrained(folder)
    assert "no chat template" in refusal(folder, family)
