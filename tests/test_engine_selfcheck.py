"""Models that behave as the engine assumes pass; altered ones are refused with the reason."""

import copy
import time

import pytest
import torch
from torch import nn
from transformers.models.llama import modeling_llama
from transformers.models.llama.modeling_llama import LlamaRMSNorm, rotate_half

from hones_core.engine.selfcheck import check_model
from hones_core.models import load_model
from hones_core.models.adapter import Adapter, ModelError
from hones_core.models.llava import LlavaAdapter

pytest_plugins = ["model_fixtures"]

MODELS = ["tiny", "grouped", "tiny_qwen"]


@pytest.fixture(params=MODELS)
def model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def adapter(tiny) -> Adapter:
    """A copy that a test may alter."""
    return copy.deepcopy(tiny.adapter)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_model_as_assumed_passes_quickly(model, dtype):
    adapter = load_model(str(model.folder), model.adapter.family, dtype, "cpu")
    start = time.process_time()
    check_model(adapter)
    assert time.process_time() - start < 5
    check_model(adapter, "plain")


def test_nothing_is_left_behind(model):
    modules = list(model.adapter.model.modules())
    before = [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules]
    state = torch.get_rng_state()
    check_model(model.adapter)
    assert [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules] == before
    assert torch.equal(torch.get_rng_state(), state)
    assert model.adapter.answer_positions is None


def test_a_bias_of_o_proj_is_no_obstacle(adapter):
    for layer in adapter.layers:
        layer.self_attn.o_proj.bias = nn.Parameter(torch.randn(32), requires_grad=False)
        layer.mlp.down_proj.bias = nn.Parameter(torch.randn(32), requires_grad=False)
    check_model(adapter)


@pytest.mark.parametrize("known", [True, False])
def test_normed_queries_and_keys_as_in_qwen3(adapter, known):
    """Under the name that `keys_values` knows they are supported, else refused."""
    for layer in adapter.layers:
        attention = layer.self_attn
        norms = {name: LlamaRMSNorm(adapter.head_dim) for name in "qk"}
        for name, norm in norms.items():
            norm.weight.data += torch.rand(adapter.head_dim)
            attention.add_module(f"{name}_norm" if known else f"{name}_layernorm", norm)
        attention.forward = _attention(
            attention, lambda name, states, norms=norms: norms[name](states)
        )
    if known:
        check_model(adapter)
        return
    with pytest.raises(ModelError, match="layer 0: its keys are not k_proj"):
        check_model(adapter)


# --- alterations ---------------------------------------------------------------------------------


def _attention(attention, change, rotate=modeling_llama.apply_rotary_pos_emb, window=None):
    """Llama's attention with `change` behind the projections of q and k."""

    def forward(hidden_states, position_embeddings, attention_mask, past_key_values=None, **_):
        shape = (*hidden_states.shape[:-1], -1, attention.head_dim)
        query, key, value = (
            change(name, getattr(attention, f"{name}_proj")(hidden_states).view(shape))
            if name != "v"
            else attention.v_proj(hidden_states).view(shape)
            for name in "qkv"
        )
        query, key, value = (states.transpose(1, 2) for states in (query, key, value))
        query, key = rotate(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, attention.layer_idx)
        if window is not None:
            columns = torch.arange(key.shape[2])
            ends = columns[key.shape[2] - query.shape[2] :]
            near = ends[:, None] - columns < window
            attention_mask = near if attention_mask is None else attention_mask & near
            attention_mask = attention_mask | (ends[:, None] == columns)
        causal = attention_mask is None
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, is_causal=causal
        )
        out = out.transpose(1, 2).reshape(*hidden_states.shape[:-1], -1)
        return attention.o_proj(out), None

    return forward


def _layer(layer, finish):
    """A decoder layer with another end: finish(layer, hidden, attended) -> output."""

    def forward(hidden_states, **kwargs):
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden_states), **kwargs)
        return finish(layer, hidden_states, attended)

    return forward


def scaled_ffn(layer, hidden, attended):
    hidden = hidden + attended
    return hidden + 0.9 * layer.mlp(layer.post_attention_layernorm(hidden))


def scaled_attention(layer, hidden, attended):
    hidden = hidden + 0.9 * attended
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def norm_behind_the_attention(layer, hidden, attended):
    hidden = hidden + layer.input_layernorm(attended)
    return hidden + layer.mlp(layer.post_attention_layernorm(hidden))


def norm_behind_the_ffn(layer, hidden, attended):
    hidden = hidden + attended
    return hidden + layer.input_layernorm(layer.mlp(layer.post_attention_layernorm(hidden)))


def side_by_side(layer, hidden, attended):
    return hidden + attended + layer.mlp(layer.post_attention_layernorm(hidden))


@pytest.mark.parametrize(
    ("finish", "reason"),
    [
        (scaled_ffn, "layer 1: the output is not"),
        (scaled_attention, "layer 1: the input of post_attention_layernorm is not"),
        (norm_behind_the_attention, "layer 1: the input of post_attention_layernorm is not"),
        (norm_behind_the_ffn, "layer 1: the output is not"),
        (side_by_side, "layer 1: the input of post_attention_layernorm is not"),
    ],
)
def test_other_residual_streams(adapter, finish, reason):
    adapter.layers[1].forward = _layer(adapter.layers[1], finish)
    with pytest.raises(ModelError, match=reason):
        check_model(adapter)
    check_model(adapter, "plain")  # which looks at heads and neurons where they are


def half_rotary(query, key, cos, sin):
    width = query.shape[-1] // 2
    cos, sin = cos[:, None, :, :width], sin[:, None, :, :width]

    def rotate(x):
        turned, kept = x[..., :width], x[..., width:]
        return torch.cat([turned * cos + rotate_half(turned) * sin, kept], -1)

    return rotate(query), rotate(key)


def test_rotary_embedding_of_half_a_head(adapter):
    attention = adapter.layers[0].self_attn
    attention.forward = _attention(attention, lambda _, states: states, half_rotary)
    with pytest.raises(ModelError, match=r"layer 0: its keys are not k_proj, rotated whole"):
        check_model(adapter)


def test_a_window_inside_the_attention(adapter):
    """By columns: a tree of answers, whose columns are no distances, shows it."""
    attention = adapter.layers[0].self_attn
    attention.forward = _attention(attention, lambda _, states: states, window=3)
    with pytest.raises(ModelError, match="gives other states than the stock model"):
        check_model(adapter)


def test_a_window_in_the_model_s_mask(adapter, monkeypatch):
    def windowed(*_, **kwargs):
        columns = torch.arange(kwargs["inputs_embeds"].shape[1])
        distance = columns[:, None] - columns
        seen = (distance >= 0) & (distance < 3)
        own = seen & kwargs["attention_mask"].bool()[:, None, None]
        return own | (distance == 0)

    monkeypatch.setattr(modeling_llama, "create_causal_mask", windowed)
    with pytest.raises(ModelError, match=r"layer 0: run by itself .* sliding window"):
        check_model(adapter)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layers have sliding_attention"),
        ({"sliding_window": 4096}, "sliding window of 4096"),
    ],
)
def test_windows_that_only_long_prompts_feel(adapter, settings, reason):
    text = adapter.model.config.get_text_config()
    for name, value in settings.items():
        setattr(text, name, value)
    with pytest.raises(ModelError, match=reason):
        check_model(adapter)
    text.use_sliding_window = False
    if "layer_types" not in settings:
        check_model(adapter)


@pytest.mark.parametrize("engine", ["fast", "plain"])
@pytest.mark.parametrize("change", [lambda x: 0.5 * x, lambda x: 3 * torch.tanh(x / 3)])
def test_scaled_or_capped_logits(adapter, change, engine):
    adapter.model.lm_head.register_forward_hook(lambda _module, _args, out: change(out))
    with pytest.raises(ModelError, match="the logits are not the final states times lm_head"):
        check_model(adapter, engine)


def test_scaled_embeddings(adapter):
    adapter.language_model.layers[0].register_forward_pre_hook(
        lambda _module, args: (2 * args[0], *args[1:])
    )
    with pytest.raises(ModelError, match="layer 0 is not the tokens' embeddings"):
        check_model(adapter)


def test_another_way_of_the_ffn(adapter):
    mlp = adapter.layers[1].mlp
    mlp.register_forward_hook(lambda _module, args, out: out + args[0])
    with pytest.raises(ModelError, match="layer 1: the FFN's output is not down_proj"):
        check_model(adapter)


def test_layers_without_the_parts_or_with_more(adapter):
    model, parts = adapter.model, (adapter.tokenizer, adapter.image_processor)
    layer = adapter.layers[1]
    layer.add_module("pre_feedforward_layernorm", LlamaRMSNorm(32))
    with pytest.raises(ModelError, match="layer 1 also has pre_feedforward_layernorm"):
        LlavaAdapter(model, *parts)
    del layer.pre_feedforward_layernorm
    layer.mlp = nn.ModuleDict({"gate": nn.Linear(32, 4), "experts": nn.ModuleList()})
    with pytest.raises(ModelError, match=r"layer 1 has no mlp.down_proj.* experts"):
        LlavaAdapter(model, *parts)
