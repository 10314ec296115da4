"""The configuration: checked, explained, documented."""

import copy
import re
from pathlib import Path

import pytest
import yaml

from hones_core.docs import generated
from hones_core.settings import SettingsError, load_settings, plain

ROOT = Path(__file__).parent.parent


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_the_default_configuration_is_valid(config):
    settings = load_settings(config)
    assert settings.run_name == "toy"
    assert settings.model("llava").path == "resources/toy/llava"


@pytest.mark.parametrize(
    ("where", "key", "value", "message"),
    [
        (
            ["masking"],
            "top_ration",
            1,
            r"masking.top_ration: unknown key; did you mean 'top_ratio'",
        ),
        ([], "maskin", {}, r"maskin: unknown key; did you mean 'masking'"),
        (["benchmark", "retrieval"], "negatives", 3, "did you mean 'n_negatives'"),
        (["models", 0], "batchsize", 3, r"models.0.batchsize: .*did you mean 'batch_size'"),
        (["data", "toy_scenes"], "images", 3, "did you mean 'n_images'"),
        (["masking"], "top_ratio", 0, r"masking.top_ratio: .*greater than 0 \(given: 0\)"),
        (["neurons"], "rankers", ["hones", "best"], "neurons.rankers.1: Input should be 'hones'"),
        (["neurons"], "rankers", ["ma", "ma"], "neurons.rankers: .*listed twice"),
        (["neurons", "qrnca"], "step", 3, "did you mean 'steps'"),
        (["neurons", "group_patching"], "corruption", "blur", "corruption: .*'image_swap'"),
        (["heads"], "utility", "accuracy", r"heads.utility: .*'task_metric'"),
        (["benchmark", "outline"], "colour", [0, 0, 256], "outline.colour.2"),
        (["heads"], "screening", {"z": 3}, "heads.screening.rule: Field required"),
        (["heads"], "screening", {"rule": "halving", "z": 3}, "'successive_elimination'"),
        (["logit_lens"], "norm", "final", r"logit_lens.norm: .*'frozen'"),
        (["logit_lens"], "samples", {"vqas": ["vqa/1"]}, r"logit_lens.samples.vqas.*'vqa'"),
        (["logit_lens"], "samples", {"vqa": "vqa/1"}, r"logit_lens.samples.vqa: .*list"),
        (["steering"], "bank", "best", r"steering.bank: .*'dominant_group'"),
        (["steering"], "bank_sizes", [128, 128], r"steering.bank_sizes: .*listed twice"),
        (["steering"], "kl_weights", [], r"steering.kl_weights: .*at least 1 item"),
        ([], "run_name", "../elsewhere", "run_name"),
        ([], "tasks", ["vqa", "vqa"], "a task is listed twice"),
        (["data"], "captions", "mine.json", "set captions to that"),
        (["models", 0], "max_pixels", 1280, r"models.0: .*llava has images of one size"),
        (["models", 0], "min_pixels", 0, r"models.0.min_pixels: .*greater than 0"),
    ],
)
def test_a_wrong_value_is_refused_by_name(config, where, key, value, message):
    section = config
    for part in where:
        section = section[part]
    section[key] = value
    with pytest.raises(SettingsError, match=message):
        load_settings(config)


def test_bounds_of_image_sizes(config):
    model = config["models"][0]
    model |= {"family": "qwen2_5_vl", "min_pixels": 3136, "max_pixels": 3136}
    assert load_settings(config).models[0].max_pixels == 3136
    model["max_pixels"] = 3135
    with pytest.raises(SettingsError, match=r"models.0: .*min_pixels is larger than max_pixels"):
        load_settings(config)
    del model["min_pixels"], model["max_pixels"]
    assert load_settings(config).models[0].min_pixels is None


def test_screening_is_refused_with_several_jobs(config):
    config["heads"]["screening"] = {"rule": "successive_elimination", "z": 3}
    assert load_settings(config).heads.screening.min_samples == 32
    config["heads"]["shards"] = 2
    with pytest.raises(SettingsError, match=r"heads: .*set shards to 1"):
        load_settings(config)


def test_a_missing_key_is_named(config):
    del config["steering"]["epochs"]
    with pytest.raises(SettingsError, match=r"steering.epochs: Field required"):
        load_settings(config)


def test_keys_that_stand_twice_are_found_at_any_depth(config, tmp_path):
    files = {"mine.yaml": "a: {b: 1, b: 2}\nc:\n- d: 1\n  d: 2\n", "mine.json": '{"a": 1, "a": 2}'}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in files]
    with pytest.raises(SettingsError) as error:
        load_settings(config, paths)
    assert f"({paths[0]} + {paths[1]})" in str(error.value)
    assert "a.b stands in lines 1 and 1" in str(error.value)
    assert "c.0.d stands in lines 3 and 4" in str(error.value)
    (tmp_path / "mine.yaml").write_text("a: &a {b: *a}\n")  # a section that holds itself
    assert load_settings(config, paths).run_name == "toy"


def test_two_models_of_one_name_are_refused(config):
    config["models"] *= 2
    with pytest.raises(SettingsError, match="two models have the same name"):
        load_settings(config)


def test_plain_sections_are_builtins_in_canonical_order(config):
    settings = load_settings(config)
    section = plain(settings.benchmark)
    assert list(section) == sorted(section)
    assert section["outline"] == {"colour": [0, 0, 255], "width_px": 2}
    reordered = copy.deepcopy(config)
    reordered["benchmark"] = dict(reversed(reordered["benchmark"].items()))
    assert repr(plain(load_settings(reordered).benchmark)) == repr(section)


def test_every_key_of_the_default_configuration_has_a_comment():
    lines = (ROOT / "config.yaml").read_text().splitlines()
    keys = [line for line in lines if re.match(r"\s*(- )?[a-z_]+:", line)]
    bare = [line for line in keys if "#" not in line and not re.fullmatch(r"\s*[a-z_]+:", line)]
    assert len(keys) > 60
    assert bare == []


@pytest.mark.parametrize("name", generated())
def test_generated_documents_are_up_to_date(name):
    assert (ROOT / "docs" / name).read_text() == generated()[name], "run: make docs"
