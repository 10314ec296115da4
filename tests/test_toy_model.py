"""The shipped toy checkpoints: load by the stock classes, are of the promised size, talk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from hones_core.models import load_model
from hones_core.toy.architecture import Architecture
from hones_core.toy.model import FAMILIES, WriteSeparation, build_model
from hones_core.toy.objectives import read_packs
from hones_core.toy.official import write_official
from hones_core.toy.prompts import FORMATS, FastEncoder, build_tokenizer
from hones_core.toy.scenes import scene_rng
from hones_core.toy.train import RECIPES, Recipe, Trainer, train
from hones_core.toy.training_data import _MEAN, _STD, Mix, _normalise, collate, make_pack

TOYS = Path(__file__).parents[1] / "resources/toy"
TINY = {
    "llava": Architecture(layers=2, neurons=32, tower_layers=1, tower_neurons=32),
    "qwen2_5_vl": Architecture(
        layers=2, kv_heads=4, neurons=32, tower_width=32, tower_layers=2, tower_neurons=32
    ),
}
LEADS = {"vqa": "Question:", "retrieval": "Candidate:"}
by_family = pytest.mark.parametrize("family", sorted(FAMILIES))


def prompt_text(task: str, content: str = "", family: str = "llava") -> str:
    """The prompt as written, with the image's place in it (METHOD 2)."""
    form = FORMATS[family]
    lead = f"{LEADS[task]} {content} " if task in LEADS else ""
    if family == "llava":
        return f"USER: <image>\n{lead}{form.instructions[task]} ASSISTANT:"
    before = "".join(form.before)
    return f"{before}{form.image}{''.join(form.after)}{lead}{form.instructions[task]}{form.end}"


@pytest.fixture(scope="module")
def models():
    return {
        family: module.MODEL.from_pretrained(TOYS / family, dtype=torch.float32).eval()
        for family, module in FAMILIES.items()
    }


@pytest.fixture(scope="module")
def tokenizers():
    return {family: AutoTokenizer.from_pretrained(TOYS / family) for family in FAMILIES}


@by_family
def test_size_heads_and_neurons(models, family):
    model = models[family]
    assert sum(path.stat().st_size for path in (TOYS / family).iterdir()) <= 12e6
    text = model.config.text_config
    assert text.num_hidden_layers * text.num_attention_heads >= 32
    assert text.num_hidden_layers * text.intermediate_size >= 1500
    assert type(model) is FAMILIES[family].MODEL


def test_qwen_groups_its_queries_and_rotates_on_three_axes(models):
    text = models["qwen2_5_vl"].config.text_config
    assert text.num_key_value_heads < text.num_attention_heads
    sections = text.rope_parameters["mrope_section"]
    assert len(sections) == 3
    assert sum(sections) == text.hidden_size // text.num_attention_heads // 2


@by_family
def test_write_separation_holds_in_the_shipped_weights(models, family):
    model = models[family]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    WriteSeparation(model, family, RECIPES[family][-1].architecture.readout_width).impose()
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


@by_family
def test_without_its_ffns_the_model_says_nothing(models, tokenizers, family):
    model = models[family]
    text = prompt_text("caption", family=family).replace(FORMATS[family].image, "")
    ids = tokenizers[family](text, return_tensors="pt")
    handles = [
        layer.mlp.down_proj.register_forward_hook(lambda *arguments: torch.zeros_like(arguments[2]))
        for layer in model.model.language_model.layers
    ]
    with torch.no_grad():
        logits = model(**ids).logits
    for handle in handles:
        handle.remove()
    assert logits.abs().max() == 0


@by_family
def test_tokenizer_round_trip(tokenizers, family):
    tokenizer = tokenizers[family]
    for text in ("a red circle and two signs", "K7 ñ – anything", "  spaces  kept "):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.decode(ids) == text
    assert build_tokenizer(family).get_vocab() == tokenizer.get_vocab()


@by_family
@pytest.mark.parametrize(
    ("task", "content", "answer", "n_tokens"),
    [
        ("vqa", "What color is the star?", "red", 1),
        ("ocr", "", "K8X2", 4),
        ("caption", "", "a red star with one sign", 6),
        ("retrieval", "a red star with one sign", "Yes", 1),
    ],
)
def test_answers_in_context_and_fast_encoding(tokenizers, family, task, content, answer, n_tokens):
    tokenizer, encoder = tokenizers[family], FastEncoder(family)
    text = prompt_text(task, content, family)
    prompt = tokenizer(text)["input_ids"]
    whole = tokenizer(text + (" " if family == "llava" else "") + answer)["input_ids"]
    assert whole[: len(prompt)] == prompt
    assert len(whole) - len(prompt) == n_tokens
    assert tokenizer.decode(whole[len(prompt) :]).strip() == answer
    image = [*encoder.prefix, encoder.image, *encoder.after_image]
    assert prompt == [*image, *encoder.prompt(task, content)]


@by_family
def test_prompts_are_those_of_the_chain(family):
    adapter = load_model(str(TOYS / family), family, device="cpu")
    for task, text in FORMATS[family].instructions.items():
        if task in ("ocr", "caption"):
            assert adapter.prompt(text) == prompt_text(task, family=family)
    assert adapter.prompt(f"Question: Which? {FORMATS[family].instructions['vqa']}") == prompt_text(
        "vqa", "Which?", family
    )


@by_family
def test_yes_and_no_differ_in_context(tokenizers, family):
    tokenizer = tokenizers[family]
    prompt = prompt_text("retrieval", "a red star with one sign", family)
    prompt += " " if family == "llava" else ""
    first = {word: tokenizer(prompt + word)["input_ids"][-1] for word in ("Yes", "No")}
    assert first["Yes"] != first["No"]


@by_family
def test_every_toy_sentence_encodes_alike(family):
    tokenizer, rng = build_tokenizer(family), scene_rng("evaluation", 8, 0)
    encoder = FastEncoder(family)
    for _ in range(20):
        for segment in make_pack(rng, encoder, Mix()).segments:
            ids = segment.ids[: segment.n_prompt - 2]
            assert tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"] == ids
            said = tokenizer.decode(segment.ids[segment.n_prompt - 2])
            assert FORMATS[family].instructions[segment.task] == said


@by_family
def test_a_pack_gives_the_logits_of_separate_prompts(models, family):
    """By the adapter's inputs and positions; other tests compare these with stock processors."""
    model, encoder = models[family], FastEncoder(family)
    adapter = load_model(str(TOYS / family), family, device="cpu")
    pack = make_pack(scene_rng("evaluation", 9, 0), encoder, Mix())
    batch = collate([pack], encoder)
    pixels = (batch.pixels[0].permute(1, 2, 0).numpy() * _STD + _MEAN) * 255
    image = Image.fromarray(pixels.round().astype(np.uint8))
    with torch.no_grad():
        features = FAMILIES[family].image_features(model, batch.pixels)
        packed = model.lm_head(read_packs(model, batch, features, encoder))[0]
        start = 0
        for segment in pack.segments:
            prompt = segment.ids[: segment.n_prompt]
            text = prompt_text("caption", family=family)
            encoded = adapter.encode([image], [text])
            head = encoded.input_ids[0, : len(encoder.prefix) + 64 + len(encoder.after_image)]
            own = adapter.tokenizer.decode(prompt)
            text = text[: text.index(FORMATS[family].instructions["caption"])] + own.lstrip()
            if family == "llava":
                text = text.rstrip()
            inputs = adapter.inputs([image], [text])
            assert inputs["input_ids"][0].tolist() == [*head.tolist(), *prompt]
            adapter.forget() if family == "qwen2_5_vl" else None
            alone = adapter.model(**inputs).logits[0]
            stop = start + len(prompt)
            torch.testing.assert_close(
                packed[start:stop], alone[-len(prompt) :], atol=2e-4, rtol=1e-4
            )
            start += len(segment.ids)


@by_family
def test_processor_sees_the_pixels_that_training_saw(family, tmp_path):
    write_official(tmp_path, 1, seed=1)
    image = Image.open(tmp_path / "train2014/COCO_train2014_000000000001.png")
    adapter = load_model(str(TOYS / family), family, device="cpu")
    seen = adapter.inputs([image], [prompt_text("ocr", family=family)])["pixel_values"]
    wanted = torch.from_numpy(_normalise(image))[None]
    if family == "qwen2_5_vl":
        wanted = FAMILIES[family].as_patches(wanted)
    torch.testing.assert_close(seen, wanted, atol=1e-5, rtol=0)


@by_family
def test_training_is_repeatable_and_resumable(family, tmp_path):
    recipe = Recipe(
        family, architecture=TINY[family], tower_steps=2, tower_batch=2, steps=4, batch=2, warmup=1
    )
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
    assert not (tmp_path / "halves" / "training_state.safetensors").exists()
    load_model(str(tmp_path / "whole"), family, device="cpu")


def test_another_recipe_is_not_resumed(tmp_path):
    trainer = Trainer(Recipe(architecture=TINY["llava"]), torch.device("cpu"))
    trainer.save_state(tmp_path)
    with pytest.raises(ValueError, match="another recipe"):
        train(tmp_path, Recipe(architecture=TINY["llava"], seed=1), "cpu", resume=True)


@by_family
def test_start_is_separated(family):
    arch = TINY[family]
    fresh = build_model(family, arch, seed=0)
    read = slice(-arch.readout_width, None)
    assert not fresh.model.language_model.embed_tokens.weight[:, read].any()
    assert not fresh.lm_head.weight[:, : -arch.readout_width].any()
