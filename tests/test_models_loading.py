"""Loading: what is refused, with which words, and what the adapter reads off a model."""

import copy
import json
import shutil

import pytest
import torch
from model_support import random_model
from safetensors.torch import load_file, save_file
from torch import nn

from hones_core.models import load_model
from hones_core.models.adapter import ModelError
from hones_core.models.llava import LlavaAdapter
from hones_core.models.loading import choose_device

pytest_plugins = ["model_fixtures"]

WEIGHTS = "model.safetensors"


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny checkpoint, to be damaged."""
    return shutil.copytree(tiny.folder, tmp_path / "model")


def edit_config(folder, **changes):
    path = folder / "config.json"
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
    assert "known: llava" in refusal(folder, family="llava_next")
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
    assert "cannot load" in refusal(folder)


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


def test_device():
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
