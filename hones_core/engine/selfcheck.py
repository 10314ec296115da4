"""Does this very model behave as the engine assumes? Asked when it is opened, on a few tokens.

Random short sequences go through the stock model, and the same through the parts that the engine
runs by itself: layer by layer, behind cached keys and values, replayed from a changed layer. A
model that deviates is refused with the first thing that differs, and is not scored wrongly.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hones_core.engine.interventions import (
    Intervention,
    MeanReplaceHead,
    ZeroNeurons,
    applied,
)
from hones_core.engine.probe import Example, Seen, random_example, stock_run
from hones_core.engine.replay import GrowingCache, Trace, replay, run_step, trace
from hones_core.engine.segments import (
    answer_segment,
    candidate_segment,
    grow,
    prefix_segment,
    prompt_segment,
)
from hones_core.models.adapter import Adapter, Batch, ModelError

# Mean deviation over mean size, at most: of one step from the same input, and of a whole run.
STEP = {torch.float32: 2e-5, torch.float16: 5e-3, torch.bfloat16: 3e-2}
WHOLE = {torch.float32: 2e-4, torch.float16: 5e-2, torch.bfloat16: 2e-1}


def check_model(adapter: Adapter, engine: str = "fast") -> None:
    """Refuse a model whose layers, logits or interventions are not what `engine` relies on.

    'plain' needs the heads, the neurons and the logits, 'fast' also the layers' order and masks.
    Raises ModelError that says what differs, where, and by how much, or which layer gives no
    finite numbers.
    """
    with torch.inference_mode():
        example = random_example(adapter)
        layers, logits, final = stock_run(adapter, example.batch)
        real = example.batch.attention_mask.bool()
        for index, seen in enumerate(layers):
            _check_numbers(index, seen, real)
            _check_neurons(adapter, index, seen, real)
        ours = adapter.logits(final)
        what = "the logits are not the final states times lm_head"
        _compare(adapter, what, ours, logits, real)
        if engine == "plain":
            return
        _check_windows(adapter)
        _check_layers(adapter, example.batch, layers, real)
        top = adapter.language_model.norm(layers[-1].output)
        what = "the final states are not the norm of the top layer's output"
        _compare(adapter, what, top, final, real)
        _check_runs(adapter, example)


def _check_numbers(index: int, seen: Seen, real: Tensor) -> None:
    if not seen.output[real.to(seen.output.device)].isfinite().all():
        raise ModelError(
            f"layer {index} gives values that are no finite numbers: its weights are damaged (copy "
            "or download the checkpoint again), or its dtype is too narrow (set it to float32)"
        )


def _check_neurons(adapter: Adapter, index: int, seen: Seen, real: Tensor) -> None:
    layer = adapter.layers[index]
    what = f"layer {index}: the FFN's output is not down_proj of its neurons' activations"
    _compare(adapter, what, layer.mlp.down_proj(seen.z), seen.ffn, real)


def _check_windows(adapter: Adapter) -> None:
    """Masks that the stock model makes for long prompts only, which no short example shows."""
    text = adapter.model.config.get_text_config()
    kinds = set(getattr(text, "layer_types", None) or ["full_attention"])
    windows = {getattr(layer.self_attn, "sliding_window", None) for layer in adapter.layers}
    if getattr(text, "use_sliding_window", True):
        windows.add(getattr(text, "sliding_window", None))
    if kinds != {"full_attention"}:
        _refuse(adapter, f"layers have {', '.join(sorted(kinds - {'full_attention'}))}")
    if windows != {None}:
        widest = max(window for window in windows if window is not None)
        _refuse(adapter, f"attention has a sliding window of {widest} tokens")


def _check_layers(adapter: Adapter, batch: Batch, layers: Sequence[Seen], real: Tensor) -> None:
    segment = prompt_segment(adapter, batch)
    what = "the input of layer 0 is not the tokens' embeddings"
    _compare(adapter, what, batch.embeddings, layers[0].hidden, real)
    for index, seen in enumerate(layers):
        segment = segment.on(adapter.layer_device(index))
        layer, place = adapter.layers[index], f"layer {index}"
        attended = seen.hidden + layer.self_attn.o_proj(seen.heads)
        what = (
            f"{place}: the input of post_attention_layernorm is not the layer's input plus "
            "o_proj's output (another norm, a scaled residual, attention beside the FFN?)"
        )
        _compare(adapter, what, attended, seen.middle, real)
        finished = seen.middle + layer.mlp(layer.post_attention_layernorm(seen.middle))
        what = (
            f"{place}: the output is not the residual stream behind the attention plus the FFN's "
            "output (another norm, a scaled residual, attention beside the FFN?)"
        )
        _compare(adapter, what, finished, seen.output, real)
        cache = _empty_cache(adapter, seen.hidden)
        output = layer(
            seen.hidden,
            attention_mask=segment.mask,
            position_embeddings=segment.rotary,
            past_key_values=cache,
            use_cache=True,
        )
        what = (
            f"{place}: run by itself with an explicit mask and positions it gives something else "
            "(a sliding window, a mask or positions of its own?)"
        )
        _compare(adapter, what, output, seen.output, real)
        keys, values = adapter.keys_values(index, seen.hidden, *segment.rotary)
        columns = real[:, None].expand(-1, keys.shape[1], -1)
        what = f"{place}: its keys are not k_proj, rotated whole (partial rotary, another norm?)"
        _compare(adapter, what, keys, cache.keys, columns)
        what = f"{place}: its values are not v_proj of the normed input"
        _compare(adapter, what, values, cache.values, columns)


def _empty_cache(adapter: Adapter, hidden: Tensor) -> GrowingCache:
    """A cache with nothing in it yet and room for `hidden` [B, T, d], on its device."""
    split = adapter.layers[0].self_attn.k_proj.out_features // adapter.head_dim
    nothing = hidden.new_zeros(len(hidden), split, 0, adapter.head_dim)
    return GrowingCache(nothing, nothing, room=hidden.shape[1])


def _check_runs(adapter: Adapter, example: Example) -> None:
    """Whole runs: a tree of answers, a shared prefix, one decoding step, and interventions."""
    stock = _stock_answers(adapter, example)
    segment = answer_segment(adapter, example.batch, example.trees)
    traced = trace(adapter, [segment])
    what = "answers behind a prompt that they share"
    _compare_whole(adapter, what, _along(example, traced.read(0), 1), stock)
    _check_prefix(adapter, example, stock)
    _check_step(adapter, example, stock)
    for layer in sorted({0, adapter.n_layers // 2, adapter.n_layers - 1}):
        for kind, intervention in _interventions(adapter, layer).items():
            _check_replay(adapter, example, traced, intervention, f"a {kind} of layer {layer}")


def _check_prefix(adapter: Adapter, example: Example, stock: Tensor) -> None:
    """Answers in rows of their own behind the prompts' rows."""
    batch, trees = example.batch, example.trees
    segment = candidate_segment(adapter, batch, trees, range(len(trees)))
    nodes = torch.arange(segment.real.shape[1], device=adapter.device).expand(len(trees), -1)
    traced = trace(adapter, [prefix_segment(adapter, batch), segment.reading(nodes)])
    what = "candidates behind a prefix that they share"
    _compare_whole(adapter, what, _along(example, traced.read(1), 0), stock)


def _check_step(adapter: Adapter, example: Example, stock: Tensor) -> None:
    """The answers' first token, decoded behind the prompt's keys and values."""
    batch = example.batch
    traced = trace(adapter, [prompt_segment(adapter, batch)])
    caches = [GrowingCache(*row[0].keys_values, room=1) for row in traced.layers]
    first = [grow([tree.tokens[:1]]) for tree in example.trees]
    segment = candidate_segment(adapter, batch, first, range(len(first)))
    states = run_step(adapter, segment.embeddings, segment, caches)
    rows = [place for place, (_, node) in enumerate(_nodes(example)) if node == 0]
    what = "one token behind cached keys and values"
    _compare_whole(adapter, what, states[:, 0].repeat_interleave(2, 0), stock[rows])


def _check_replay(
    adapter: Adapter, example: Example, traced: Trace, intervention: Intervention, what: str
) -> None:
    changes = list(intervention.changes(adapter))
    run = replay(adapter, traced, [changes])
    with applied(adapter, intervention):
        stock = _stock_answers(adapter, example)
    _compare_whole(adapter, f"a replay under {what}", _along(example, run.read(0), 1), stock)


def _interventions(adapter: Adapter, layer: int) -> dict[str, Intervention]:
    """One head's mean replacement, where there are others, and a quarter of the neurons at zero."""
    found: dict[str, Intervention] = {
        "neuron": ZeroNeurons({layer: torch.arange(0, adapter.n_neurons, 4)})
    }
    if adapter.n_heads > 1:
        found["head"] = MeanReplaceHead(layer, layer % adapter.n_heads)
    return found


def _stock_answers(adapter: Adapter, example: Example) -> Tensor:
    """Final states of the stock model at all answers' tokens, one after the other, [N, d]."""
    forced = example.forced
    hidden = adapter.hidden_states(forced.batch)[:, -forced.target_ids.shape[1] :]
    return hidden[forced.target_mask.to(hidden.device)]


def _nodes(example: Example) -> list[tuple[int, int]]:
    """(prompt, node) of every token of `_stock_answers`."""
    return [
        (row, node)
        for row, tree in enumerate(example.trees)
        for path in tree.paths
        for node in path
    ]


def _along(example: Example, states: Tensor, first: int) -> Tensor:
    """States [B, K, d] at the nodes of all answers; node n is read first + n."""
    rows, nodes = zip(*_nodes(example), strict=True)
    return states[list(rows), [first + node for node in nodes]]


def _compare(adapter: Adapter, what: str, ours: Tensor, stock: Tensor, where: Tensor) -> None:
    """Refuse a deviation, at the places of a mask, beyond what rounding of one step explains."""
    ours, stock = (values[where.to(values.device)] for values in (ours, stock))
    _require(adapter, what, ours, stock, STEP[adapter.dtype])


def _compare_whole(adapter: Adapter, what: str, ours: Tensor, stock: Tensor) -> None:
    text = f"{what} gives other states than the stock model"
    _require(adapter, text, ours, stock, WHOLE[adapter.dtype])


def _require(adapter: Adapter, what: str, ours: Tensor, stock: Tensor, allowed: float) -> None:
    if ours.shape != stock.shape:
        _refuse(adapter, f"{what} ({list(ours.shape)} for {list(stock.shape)} values)")
    found = deviation(ours, stock)
    if not found <= allowed:  # NaN is refused
        _refuse(adapter, f"{what} (deviation {found:.2g}, rounding explains {allowed:.2g})")


def deviation(ours: Tensor, stock: Tensor) -> float:
    """Mean absolute difference over mean absolute value: a few huge dimensions hide nothing."""
    ours, stock = ours.float(), stock.to(ours.device).float()
    return float((ours - stock).abs().mean() / stock.abs().mean().clamp(min=1e-12))


def _refuse(adapter: Adapter, what: str) -> None:
    raise ModelError(
        f"{type(adapter.model).__name__} does not behave as the engine relies on: {what}. It would "
        "be scored wrongly, so it is not scored; it needs an adapter of its own "
        "(hones_core/models/adapter.py)"
    )
