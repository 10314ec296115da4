"""The shipped toy checkpoint: loads by the stock classes, is of the promised size, talks."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoProcessor, LlavaForConditionalGeneration

from hones_core.toy import model as toy_model
from hones_core.toy.model import Architecture, WriteSeparation, build_model
from hones_core.toy.objectives import image_features, read_packs
from hones_core.toy.official import write_official
from hones_core.toy.scenes import scene_rng
from hones_core.toy.train import Recipe, Trainer, train
from hones_core.toy.training_data import Mix, collate, make_pack
from hones_core.toy.vocabulary import (
    INSTRUCTIONS,
    FastEncoder,
    build_tokenizer,
    prompt_text,
)

CHECKPOINT = Path(__file__).parents[1] / "resources/toy/llava"
TINY = Architecture(layers=2, neurons=32, tower_layers=1, tower_neurons=32)


@pytest.fixture(scope="module")
def model():
    loaded = LlavaForConditionalGeneration.from_pretrained(CHECKPOINT, dtype=torch.float32)
    return loaded.eval()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(CHECKPOINT)


def test_size_heads_and_neurons(model):
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 12e6
    text = model.config.text_config
    assert text.num_hidden_layers * text.num_attention_heads >= 32
    assert text.num_hidden_layers * text.intermediate_size >= 1500
    assert type(model) is LlavaForConditionalGeneration


def test_write_separation_holds_in_the_shipped_weights(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    WriteSeparation(model, Architecture().readout_width).impose()
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_its_ffns_the_model_says_nothing(model, processor):
    ids = processor.tokenizer(prompt_text("caption").replace("<image>", ""), return_tensors="pt")
    handles = [
        layer.mlp.down_proj.register_forward_hook(lambda *arguments: torch.zeros_like(arguments[2]))
        for layer in model.model.language_model.layers
    ]
    with torch.no_grad():
        logits = model(**ids).logits
    for handle in handles:
        handle.remove()
    assert logits.abs().max() == 0


def test_tokenizer_round_trip(processor):
    tokenizer = processor.tokenizer
    for text in ("a red circle and two signs", "K7 ñ – anything", "  spaces  kept "):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert build_tokenizer().get_vocab() == tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("task", "content", "answer", "n_tokens"),
    [
        ("vqa", "What color is the star?", "red", 1),
        ("ocr", "", "K8X2", 4),
        ("caption", "", "a red star with one sign", 6),
        ("retrieval", "a red star with one sign", "Yes", 1),
    ],
)
def test_answers_in_context_and_fast_encoding(processor, task, content, answer, n_tokens):
    tokenizer = processor.tokenizer
    encoder = FastEncoder(tokenizer)
    prompt = tokenizer(prompt_text(task, content))["input_ids"]
    whole = tokenizer(prompt_text(task, content) + " " + answer)["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert len(whole) - len(prompt) == n_tokens
    assert tokenizer.decode(whole[len(prompt) :]).strip() == answer
    assert prompt == [*encoder.prefix, encoder.image, *encoder.prompt(task, content)]


def test_yes_and_no_differ_in_context(processor):
    tokenizer = processor.tokenizer
    prompt = prompt_text("retrieval", "a red star with one sign")
    start = len(tokenizer(prompt)["input_ids"])
    first = {word: tokenizer(f"{prompt} {word}")["input_ids"][start] for word in ("Yes", "No")}
    assert first["Yes"] != first["No"]


def test_every_toy_sentence_encodes_alike():
    tokenizer, rng = build_tokenizer(), scene_rng("evaluation", 8, 0)
    encoder = FastEncoder(tokenizer)
    for _ in range(20):
        for segment in make_pack(rng, encoder, Mix()).segments:
            text = tokenizer.decode(segment.ids[: segment.n_prompt - 2])
            assert (
                tokenizer(text, add_special_tokens=False)["input_ids"]
                == (segment.ids[: segment.n_prompt - 2])
            )
            assert INSTRUCTIONS[segment.task] == tokenizer.decode(segment.ids[segment.n_prompt - 2])


def test_a_pack_gives_the_logits_of_separate_prompts(model, processor):
    encoder = FastEncoder(processor.tokenizer)
    pack = make_pack(scene_rng("evaluation", 9, 0), encoder, Mix())
    batch = collate([pack], encoder)
    with torch.no_grad():
        features = image_features(model, batch.pixels)
        packed = model.lm_head(read_packs(model, batch, features, encoder.prefix))[0]
        start = 0
        for segment in pack.segments:
            ids = [*encoder.prefix, *[encoder.image] * 64, *segment.ids]
            alone = model(input_ids=torch.tensor([ids]), pixel_values=batch.pixels).logits[0]
            stop = start + len(segment.ids)
            torch.testing.assert_close(
                packed[start:stop], alone[-len(segment.ids) :], atol=2e-4, rtol=1e-4
            )
            start = stop


def test_processor_sees_the_pixels_that_training_saw(processor, tmp_path):
    write_official(tmp_path, 1, seed=1)
    from PIL import Image

    from hones_core.toy.training_data import _normalise

    image = Image.open(tmp_path / "train2014/COCO_train2014_000000000001.png")
    seen = processor(images=[image], text=[prompt_text("ocr")], return_tensors="np")
    np.testing.assert_allclose(seen["pixel_values"][0], _normalise(image), atol=1e-5)


def test_training_is_repeatable_and_resumable(tmp_path, monkeypatch):
    recipe = Recipe(architecture=TINY, tower_steps=2, tower_batch=2, steps=4, batch=2, warmup=1)
    whole = train(tmp_path / "whole", recipe, "cpu").state_dict()

    (tmp_path / "halves").mkdir()
    first = Trainer(recipe, torch.device("cpu"))
    first.run("tower", 100, tmp_path / "halves")
    first.begin_answers()
    first.answer_step(0, 1e-3)  # only to leave the optimiser with a state
    fresh = Trainer(recipe, torch.device("cpu"))
    fresh.run("tower", 100, tmp_path / "halves")
    fresh.begin_answers()
    fresh.save_state(tmp_path / "halves")
    halves = train(tmp_path / "halves", recipe, "cpu", resume=True).state_dict()
    assert all(torch.equal(whole[name], halves[name]) for name in whole)
    assert not (tmp_path / "halves" / "training_state.pt").exists()


def test_another_recipe_is_not_resumed(tmp_path):
    trainer = Trainer(Recipe(architecture=TINY), torch.device("cpu"))
    trainer.save_state(tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        train(tmp_path, Recipe(architecture=TINY, seed=1), "cpu", resume=True)


def test_start_is_separated():
    fresh = build_model(TINY, seed=0)
    read = slice(-TINY.readout_width, None)
    assert not fresh.model.language_model.embed_tokens.weight[:, read].any()
    assert not fresh.lm_head.weight[:, : -TINY.readout_width].any()
    assert toy_model.build_config(TINY, build_tokenizer()).vision_feature_layer == -1
