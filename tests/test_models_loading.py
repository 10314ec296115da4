"""Loading: what is refused, with which words, and what the adapter reads off a model."""

import copy
import json
import shutil

import pytest
import torch
from model_support import pictures, prompts, random_model, stock_logits
from qwen_support import random_qwen, save_qwen
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration

from hones_core.models import load_model
from hones_core.models.adapter import ModelError
from hones_core.models.llava import LlavaAdapter
from hones_core.models.loading import choose_device
from hones_core.models.qwen2_5_vl import Qwen2_5_VLAdapter

pytest_plugins = ["model_fixtures"]

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny checkpoint, to be damaged."""
    return shutil.copytree(tiny.folder, tmp_path / "model")


@pytest.fixture
def qwen_folder(tiny_qwen, tmp_path):
    """A copy of the tiny Qwen2.5-VL, to be damaged."""
    return shutil.copytree(tiny_qwen.folder, tmp_path / "qwen")


def edit_config(folder, name="config.json", **changes):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(folder, family="llava", **options) -> str:
    with pytest.raises(ModelError) as error:
        load_model(str(folder), family, device="cpu", **options)
    return str(error.value)


def test_shape_of_the_model(tiny, grouped):
    assert (tiny.adapter.n_layers, tiny.adapter.n_heads, tiny.adapter.n_neurons) == (2, 4, 24)
    adapter = grouped.adapter
    assert (adapter.n_layers, adapter.n_heads, adapter.head_dim) == (3, 4, 8)
    assert adapter.layers[0].self_attn.k_proj.out_features == 2 * 8  # heads are query heads
    assert torch.equal(adapter.unembedding, grouped.stock.lm_head.weight)
    assert not any(parameter.requires_grad for parameter in adapter.model.parameters())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype_is_obeyed(folder, dtype):
    assert load_model(str(folder), "llava", dtype, "cpu").dtype is getattr(torch, dtype)


def test_unknown_family_and_dtype(folder):
    assert "known: llava" in refusal(folder, family="llava_third")
    assert "float16" in refusal(folder, dtype="int8")


def test_wrong_architecture(folder):
    edit_config(folder, architectures=["LlamaForCausalLM"])
    message = refusal(folder)
    assert "LlamaForCausalLM" in message
    assert "LlavaForConditionalGeneration" in message


def test_folder_without_config(folder):
    (folder / "config.json").unlink()
    assert "without config.json" in refusal(folder)


def test_damaged_config(folder):
    (folder / "config.json").write_text('{"model_type": ')
    assert "config" in refusal(folder)


def test_config_that_contradicts_itself(folder):
    config = json.loads((folder / "config.json").read_text())
    edit_config(folder, text_config=config["text_config"] | {"num_attention_heads": 5})
    assert "attention heads (5)" in refusal(folder)


def test_missing_path(tmp_path):
    assert "local folder or a hub id" in refusal(tmp_path / "nothing")


def test_missing_weights(folder):
    (folder / WEIGHTS).unlink()
    assert WEIGHTS in refusal(folder)


@pytest.mark.parametrize("kept", [0, 100, -1000])
def test_truncated_weights(folder, kept):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:kept])
    assert "safetensors" in refusal(folder)


def test_pickled_weights_are_refused(folder):
    torch.save(load_file(folder / WEIGHTS), folder / "pytorch_model.bin")
    (folder / WEIGHTS).unlink()
    assert "pickled" in refusal(folder)


def test_a_missing_tensor_is_not_replaced_by_random_numbers(folder):
    tensors = load_file(folder / WEIGHTS)
    lost = next(name for name in tensors if "layers.1.mlp.down_proj" in name)
    del tensors[lost]
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    assert "layers.1.mlp.down_proj" in refusal(folder)


def test_weights_of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    edit_config(folder, text_config=config["text_config"] | {"head_dim": 16})
    assert "do not fit its config.json" in refusal(folder)


def test_missing_tokenizer_and_image_processor(folder):
    for path in folder.glob("*processor*"):
        path.unlink()
    assert "image processor" in refusal(folder)
    for path in folder.glob("tokenizer*"):
        path.unlink()
    assert "tokenizer" in refusal(folder)


def adapt(tiny, change) -> None:
    """Wrap a random model after `change`, as the loader does."""
    model = random_model()
    change(model, model.model.language_model.layers[1])
    tokenizer = copy.deepcopy(tiny.adapter.tokenizer)
    LlavaAdapter(model, tokenizer, tiny.adapter.image_processor)


def test_layers_that_the_interventions_cannot_read(tiny):
    def wider_o_proj(_, layer):
        layer.self_attn.o_proj = nn.Linear(40, 32, bias=False)

    def other_ffn(_, layer):
        layer.mlp.down_proj = nn.Linear(25, 32, bias=False)

    def biased(model, _):
        model.lm_head = nn.Linear(32, model.lm_head.out_features, bias=True)

    def other_head_count(model, _):
        model.config.text_config.num_attention_heads = 2
        model.config.text_config.head_dim = 8

    with pytest.raises(ModelError, match=r"layer 1: o_proj reads 40 values.*4 heads x 8"):
        adapt(tiny, wider_o_proj)
    with pytest.raises(ModelError, match="layer 1: down_proj"):
        adapt(tiny, other_ffn)
    with pytest.raises(ModelError, match="bias"):
        adapt(tiny, biased)
    with pytest.raises(ModelError, match="4 heads, the config says 2"):
        adapt(tiny, other_head_count)


def test_family_of_another_architecture(folder, qwen_folder):
    assert "needs LlavaForConditionalGeneration" in refusal(qwen_folder)
    assert "needs Qwen2_5_VLForConditionalGeneration" in refusal(folder, "qwen2_5_vl")


def test_shape_of_a_model_with_grouped_query_attention(tiny_qwen):
    adapter = tiny_qwen.adapter
    assert (adapter.n_layers, adapter.n_heads, adapter.head_dim, adapter.n_neurons) == (2, 4, 8, 24)
    assert adapter.layers[0].self_attn.k_proj.out_features == 2 * 8
    assert torch.equal(adapter.unembedding, tiny_qwen.stock.lm_head.weight)


def test_unembedding_tied_to_the_embeddings(tmp_path):
    """As in Qwen2.5-VL-3B, whose weights hold no lm_head."""
    config = random_qwen().config
    config.tie_word_embeddings = True
    save_qwen(Qwen2_5_VLForConditionalGeneration(config), tmp_path)
    assert not any("lm_head" in name for name in load_file(tmp_path / WEIGHTS))
    adapter = load_model(str(tmp_path), "qwen2_5_vl", device="cpu")
    assert adapter.unembedding is adapter.model.get_input_embeddings().weight


@pytest.mark.parametrize(("dtype", "step"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_half_precision_is_near(tiny_qwen, dtype, step):
    half = load_model(str(tiny_qwen.folder), "qwen2_5_vl", dtype, "cpu")
    pair = prompts(tiny_qwen)[:1]
    with torch.no_grad():
        batch = half.encode(pictures(tiny_qwen, pair), [text for _, text in pair])
        logits = half.logits(half.hidden_states(batch))
    assert batch.embeddings.dtype == half.dtype
    expected = stock_logits(tiny_qwen, *pair[0])
    assert (logits[0] - expected).abs().max() < 30 * step * expected.abs().max()


def test_tokenizer_without_chat_template(qwen_folder):
    (qwen_folder / "chat_template.jinja").unlink()
    assert "no chat template" in refusal(qwen_folder, "qwen2_5_vl")


def test_chat_template_of_the_full_processor_alone(qwen_folder, tiny_qwen):
    """Checkpoints of older releases keep it in chat_template.json, which tokenizers don't read."""
    template = qwen_folder / "chat_template.jinja"
    text = json.dumps({"chat_template": template.read_text()})
    (qwen_folder / "chat_template.json").write_text(text)
    template.write_text("a text-only {{ messages[0]['content'] + '' }}")
    adapter = load_model(str(qwen_folder), "qwen2_5_vl", device="cpu")
    assert adapter.prompt("What?") == tiny_qwen.adapter.prompt("What?")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'][1]['text'] }}", "does not put an image"),
        ("{{ messages[0]['content'][1]['text'] }}<|image_pad|>", "does not put an image"),
        ("{{ 'user: ' + messages[0]['content'] }}", "chat template cannot be used"),
        ("{% if %}", "chat template cannot be used"),
        ("{{ raise_exception('no images here') }}", "no images here"),
    ],
)
def test_chat_template_for_other_conversations(qwen_folder, template, message):
    (qwen_folder / "chat_template.jinja").write_text(template)
    assert message in refusal(qwen_folder, "qwen2_5_vl")


def test_tokenizer_of_another_model(qwen_folder, tiny_qwen):
    """An id that the tokenizer does not have, and one that is a byte and no text of its own."""
    space = tiny_qwen.processor.tokenizer.get_vocab()["\u0120"]
    for image_token in (100_000, space):
        edit_config(qwen_folder, image_token_id=image_token)
        assert "do not belong together" in refusal(qwen_folder, "qwen2_5_vl")


def test_image_processor_of_another_model(qwen_folder):
    """Its image tokens would not be as many as the tower's features."""
    edit_config(qwen_folder, "preprocessor_config.json", merge_size=1)
    assert "image tokens would not match" in refusal(qwen_folder, "qwen2_5_vl")


def test_bounds_of_images_that_cannot_be(folder, qwen_folder):
    assert "min_pixels (700) is larger than max_pixels (640)" in refusal(
        qwen_folder, "qwen2_5_vl", min_pixels=700
    )
    assert "leave max_pixels null" in refusal(folder, max_pixels=700)


def test_sliding_attention_is_refused(qwen_folder):
    text = json.loads((qwen_folder / "config.json").read_text())["text_config"]
    changes = {"layer_types": ["full_attention", "sliding_attention"]}
    sliding = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}
    edit_config(qwen_folder, text_config=text | sliding | changes)
    assert "sliding_attention" in refusal(qwen_folder, "qwen2_5_vl")


def test_query_heads_that_the_interventions_cannot_read(tiny_qwen):
    model = random_qwen()
    model.model.language_model.layers[1].self_attn.o_proj = nn.Linear(40, 32, bias=False)
    parts = (copy.deepcopy(tiny_qwen.adapter.tokenizer), tiny_qwen.adapter.image_processor)
    with pytest.raises(ModelError, match=r"layer 1: o_proj reads 40 values.*4 heads x 8"):
        Qwen2_5_VLAdapter(model, *parts)


def test_device():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
