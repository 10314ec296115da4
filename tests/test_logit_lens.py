"""The logit lens against hooks on the stock model, its kinds of tokens, its table."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from model_support import ids_in_context, make_instances, stock_logits

from hones_core import artifacts
from hones_core.engine.interventions import ZeroNeurons
from hones_core.lens_samples import lens_samples, representative
from hones_core.logit_lens import (
    NORMS,
    TOP,
    kind_masks,
    lost_logits,
    measure_logit_lens,
    target_tokens,
)
from hones_core.models import load_model
from hones_core.neuron_sets import overlap_groups, random_set, salient_sets
from hones_core.schemas.lens import (
    KINDS,
    LOGIT_LENS,
    LOGIT_LENS_BY_LAYER,
    LOGIT_LENS_SAMPLES,
    LOGIT_LENS_TOKENS,
)
from hones_core.tables.common import Bootstrap
from hones_core.tables.lens import logit_lens
from hones_core.vocabulary import read_vocabulary, token_texts, visible

pytest_plugins = ["model_fixtures"]

TASKS = ("vqa", "ocr", "caption", "retrieval")


def some_neurons(tiny, size: int, key: int):
    shape = (tiny.adapter.n_layers, tiny.adapter.n_neurons)
    like = frozenset((0, i) for i in range(size))
    return random_set(like, *shape, "uniform", (key,))


def stock_outputs(tiny, image, text, neurons=()) -> torch.Tensor:
    """What every layer's FFN writes at the last prompt token, [L, d], with `neurons` at zero."""
    written, handles = [], []
    for index, layer in enumerate(tiny.layers):
        silenced = [neuron for where, neuron in neurons if where == index]

        def silence(_module, args, silenced=silenced):
            z = args[0].clone()
            z[..., silenced] = 0
            return (z,)

        handles.append(layer.mlp.down_proj.register_forward_pre_hook(silence))
        handles.append(
            layer.mlp.register_forward_hook(lambda _m, _a, output: written.append(output[0, -1]))
        )
    stock_logits(tiny, image, text)
    for handle in handles:
        handle.remove()
    return torch.stack(written)


def final_factor(tiny, image, text) -> torch.Tensor:
    """What the final norm multiplies the unchanged run's last state by, [d]."""
    seen = []
    handle = tiny.stock.model.language_model.norm.register_forward_hook(
        lambda _m, args, output: seen.append((output / args[0])[0, -1])
    )
    stock_logits(tiny, image, text)
    handle.remove()
    return seen[0]


def stock_lost(tiny, item, text, neurons, norm) -> torch.Tensor:
    """Lost lens logits [L, V], from the stock model alone."""
    outputs = [stock_outputs(tiny, item.image, text, chosen) for chosen in ((), neurons)]
    with torch.no_grad():
        if norm == "own":
            outputs = [tiny.stock.model.language_model.norm(output) for output in outputs]
        if norm == "frozen":
            factor = final_factor(tiny, item.image, text)
            outputs = [output * factor for output in outputs]
        base, masked = (output @ tiny.stock.lm_head.weight.T for output in outputs)
    return base - masked


def words_of(adapter):
    return read_vocabulary(adapter.tokenizer, len(adapter.unembedding), adapter.stop_ids)


def lost_by_layer(evaluator, instances, masks, norm="none") -> dict[str, torch.Tensor]:
    """{mask: [B, L, V]}."""
    found = {}
    with torch.inference_mode():
        for name, layer, lost in lost_logits(evaluator, instances, masks, norm):
            found.setdefault(name, {})[layer] = lost
    return {
        name: torch.stack([layers[layer] for layer in sorted(layers)], dim=1)
        for name, layers in found.items()
    }


@pytest.mark.parametrize("engine", ["fast", "plain"])
@pytest.mark.parametrize("norm", NORMS)
def test_lost_logits_are_those_of_hooks_on_the_stock_model(family, norm, engine):
    sets = {"dominant": some_neurons(family, 6, 0), "specific": some_neurons(family, 3, 1)}
    masks = {name: ZeroNeurons.of(neurons) for name, neurons in sets.items()}
    for task in TASKS:
        evaluator = family.evaluator(task, engine=engine)
        instances = make_instances(task)
        found = lost_by_layer(evaluator, instances, masks, norm)
        for name, neurons in sets.items():
            for row, item in enumerate(instances):
                expected = stock_lost(family, item, evaluator.text(item), neurons, norm)
                torch.testing.assert_close(found[name][row], expected, atol=2e-5, rtol=1e-4)
        assert max(float(lost.abs().max()) for lost in found.values()) > 0.05


@pytest.mark.parametrize("norm", NORMS)
def test_a_model_in_half_precision_is_close(tiny, norm):
    """Products and differences are float32 whatever the model's type."""
    name = tiny.adapter.family
    half = replace(tiny, adapter=load_model(str(tiny.folder), name, "bfloat16", device="cpu"))
    masks = {"dominant": ZeroNeurons.of(some_neurons(tiny, 6, 0))}
    found, expected = (
        lost_by_layer(models.evaluator("vqa"), make_instances("vqa"), masks, norm)["dominant"]
        for models in (half, tiny)
    )
    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < 0.05


def test_what_silences_nothing_loses_nothing(family):
    evaluator, instances = family.evaluator("vqa"), make_instances("vqa")
    top = family.adapter.n_layers - 1
    nothing = ZeroNeurons({top: torch.tensor([], dtype=torch.long)})
    for norm in NORMS:
        (lost,) = lost_by_layer(evaluator, instances, {"dominant": nothing}, norm).values()
        assert (lost == 0).all()
    mask = {"dominant": ZeroNeurons.of([(top, 1)])}  # below it nothing changes
    (lost,) = lost_by_layer(evaluator, instances, mask).values()
    assert (lost[:, :top] == 0).all() and (lost[:, top] != 0).any()
    by_layer, tokens = measure_logit_lens(evaluator, instances, {"dominant": ("", frozenset())})
    assert by_layer.empty and tokens.empty
    with pytest.raises(ValueError, match="unknown norm 'rms'"):
        measure_logit_lens(evaluator, instances, {}, "rms")


@pytest.mark.parametrize("task", TASKS)
def test_the_artifacts_hold_means_and_the_most_lost_tokens(family, task, tmp_path):
    evaluator, instances = family.evaluator(task, batch_size=2), make_instances(task)
    sets = {"dominant": ("vqa+ocr", some_neurons(family, 5, 2)), "specific": (task, frozenset())}
    by_layer, tokens = measure_logit_lens(evaluator, instances, sets)
    artifacts.write(tmp_path / "l.parquet", by_layer, LOGIT_LENS_BY_LAYER)
    artifacts.write(tmp_path / "t.parquet", tokens, LOGIT_LENS_TOKENS)
    words = words_of(family.adapter)
    assert set(by_layer["set"]) == {"dominant"} and set(by_layer["group"]) == {"vqa+ocr"}
    assert len(by_layer) == len(instances) * family.adapter.n_layers * len(KINDS)
    assert (
        by_layer.groupby(["layer", "instance_id"])["n_tokens"].sum() == words.is_token.sum()
    ).all()
    for item in instances:
        lost = stock_lost(family, item, evaluator.text(item), sets["dominant"][1], "none").numpy()
        own = set(target_tokens(evaluator, item, words))
        for layer in range(family.adapter.n_layers):
            rows = by_layer.query("instance_id == @item.instance_id and layer == @layer")
            means = rows.set_index("kind")["lost"]
            others = [t for t in range(len(words.texts)) if t not in own and words.is_token[t]]
            marks = [t for t in others if words.is_format[t]]
            rest = [t for t in others if not words.is_format[t]]
            for kind, ids in (("target", sorted(own)), ("format", marks), ("other", rest)):
                assert means[kind] == pytest.approx(lost[layer, ids].mean(), abs=1e-5)
            top = tokens.query("instance_id == @item.instance_id and layer == @layer")
            best = np.sort(lost[layer][words.is_token])[::-1][:TOP]
            expected = best[best > 1e-6]
            np.testing.assert_allclose(top.sort_values("rank")["lost"], expected, atol=2e-5)


def test_target_tokens_are_the_content_of_the_targets(tiny):
    words = words_of(tiny.adapter)

    def said(task, index):
        evaluator, item = tiny.evaluator(task), make_instances(task)[index]
        return {words.texts[token].strip() for token in target_tokens(evaluator, item, words)}

    assert said("vqa", 1) == {"no"}  # though no is a format token elsewhere
    assert said("retrieval", 0) == {"Yes"}
    evaluator, item = tiny.evaluator("ocr"), make_instances("ocr")[0]
    expected = set(ids_in_context(tiny, evaluator.text(item), "K8"))
    blank = {token for token in expected if words.is_blank[token]}
    assert set(target_tokens(evaluator, item, words)) == expected - blank
    caption = said("caption", 0)
    assert {"red", "star", "xylophone"[0]} <= caption and not {"a", "the", ":"} & caption


def test_every_token_has_one_kind(family):
    for task in TASKS:
        evaluator = family.evaluator(task)
        words = words_of(family.adapter)
        masks = kind_masks(evaluator, make_instances(task), words)
        total = sum(mask.astype(int) for mask in masks.values())
        assert (total == words.is_token).all()
        assert all(mask.any(1).all() for mask in masks.values())


class Pieces:
    """A tokenizer as SentencePiece writes tokens: decoding drops the space before a word."""

    written = (
        "\u2581the",
        "\u2581red",
        "ish",
        "<0x0A>",
        "<0xE4>",
        "\u2581",
        ".",
        "\u2581Yes",
        "!!",
        None,
    )
    decoded = ("the", "red", "ish", "\n", "\ufffd", "", ".", "Yes", "!!", "")

    def __len__(self):
        return len(self.written)

    def convert_ids_to_tokens(self, ids):
        return [self.written[one] for one in ids]

    def batch_decode(self, rows, clean_up_tokenization_spaces):
        return [self.decoded[one] for (one,) in rows]


def test_texts_and_format_tokens_of_a_tokenizer():
    words = read_vocabulary(Pieces(), 12, stop_ids=[8])
    shown = [" the", " red", "ish", "\n", "<0xE4>", " ", ".", " Yes", "!!", "", "", ""]
    assert words.texts == shown == token_texts(Pieces(), 12)
    assert words.is_token.tolist() == [True] * 9 + [False] * 3
    assert np.flatnonzero(words.is_format).tolist() == [0, 3, 5, 6, 7, 8]
    assert np.flatnonzero(words.is_blank).tolist() == [3, 5]
    shown = {
        " a b ": "\u2423a b\u2423",
        "\n": "\u21b5",
        "  ": "\u2423\u2423",
        "\t": "\u21e5",
        "\x1a": "\\x1a",
    }
    assert {text: visible(text) for text in shown} == shown


# --- the table and the samples --------------------------------------------------------------------

GROUPS = overlap_groups(
    {
        "vqa": frozenset([(0, 0), (1, 1), (2, 2)]),
        "ocr": frozenset([(0, 0)]),
        "caption": frozenset(),
        "retrieval": frozenset(),
    }
)
DOMINANT = pd.DataFrame(
    {"task": ["vqa", "ocr", "caption"], "group": ["vqa+ocr", "vqa+ocr", ""], "n_neurons": [1, 1, 0]}
)


def test_salient_sets_are_there_even_if_empty():
    assert salient_sets(GROUPS, DOMINANT, "vqa") == {
        "dominant": ("vqa+ocr", {(0, 0)}),
        "specific": ("vqa", {(1, 1), (2, 2)}),
    }
    assert salient_sets(GROUPS, DOMINANT, "ocr")["specific"] == ("ocr", frozenset())
    assert salient_sets(GROUPS, DOMINANT, "caption")["dominant"] == ("", frozenset())
    with pytest.raises(ValueError, match="name 0 groups of task 'retrieval'"):
        salient_sets(GROUPS, DOMINANT, "retrieval")


def by_layer_frame(seed: int, sets=("dominant", "specific"), n=30, layers=3) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    rows = [
        {"set": name, "group": {"dominant": "vqa+ocr", "specific": "vqa"}[name], "layer": layer}
        | {"kind": kind, "instance_id": f"vqa/{i}", "n_tokens": 2, "lost": generator.normal()}
        for name in sets
        for layer in range(layers)
        for kind in KINDS
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def test_the_table_has_means_intervals_and_empty_sets(tmp_path):
    frames = {("m", "vqa"): by_layer_frame(0), ("m", "ocr"): by_layer_frame(1, ("dominant",))}
    bootstrap = Bootstrap(resamples=200, seed=1)
    table = logit_lens(frames, {"m": GROUPS}, {"m": DOMINANT}, bootstrap)
    artifacts.write(tmp_path / "t.parquet", table, LOGIT_LENS)
    frame = frames["m", "vqa"].query("set == 'specific' and layer == 1")
    means = frame.groupby("kind")["lost"].mean()
    rows = table.query("task == 'vqa' and set == 'specific' and layer == 1").set_index("kind")
    for kind in KINDS:
        assert rows.loc[kind, "lost"] == pytest.approx(means[kind])
        assert rows.loc[kind, "lost_low"] < means[kind] < rows.loc[kind, "lost_high"]
    assert rows.loc["target", "excess"] == pytest.approx(means["target"] - means["other"])
    assert np.isnan(rows.loc["other", "excess"]) and (rows["n_instances"] == 30).all()
    (empty,) = table.query("n_neurons == 0").to_dict("records")
    assert (empty["task"], empty["set"], empty["layer"], empty["kind"]) == (
        "ocr",
        "specific",
        -1,
        "none",
    )
    assert np.isnan(empty["lost"]) and empty["n_instances"] == 0
    assert logit_lens(frames, {"m": GROUPS}, {"m": DOMINANT}, bootstrap).equals(table)


def test_the_table_refuses_what_was_not_measured():
    groups, dominant = {"m": GROUPS}, {"m": DOMINANT}
    with pytest.raises(ValueError, match="m, vqa, specific was not measured"):
        logit_lens({("m", "vqa"): by_layer_frame(0, ("dominant",))}, groups, dominant, Bootstrap(9))
    with pytest.raises(ValueError, match="lacks some instances"):
        logit_lens({("m", "vqa"): by_layer_frame(0)[1:]}, groups, dominant, Bootstrap(9))


def answers(utilities, **columns) -> pd.DataFrame:
    frame = pd.DataFrame({"instance_id": [f"vqa/{i}" for i in range(len(utilities))]})
    return frame.assign(utility=utilities, prediction=[f"said {u}" for u in utilities], **columns)


def test_samples_are_those_that_lose_most():
    base = answers([1.0, 0.5, 1.0, 0.5])
    masked = pd.concat(
        [
            answers([1.0, 0.0, 0.5, 0.5], group="vqa+ocr", trial=-1),
            answers([0.0, 0.0, 0.0, 0.0], group="vqa+ocr", trial=0),
            answers([0.0, 0.5, 1.0, 0.5], group="vqa", trial=-1),
        ]
    )
    sets = salient_sets(GROUPS, DOMINANT, "vqa")
    assert representative(base, masked, sets, 3) == ["vqa/2", "vqa/1", "vqa/0"]
    alone = {"dominant": ("", frozenset()), "specific": sets["specific"]}
    assert representative(base, masked, alone, 1) == ["vqa/0"]
    neither = {"dominant": ("", frozenset()), "specific": ("vqa", frozenset())}
    found = representative(base, masked, neither, 4)
    assert set(found[:2]) == {"vqa/0", "vqa/2"} and len(set(found)) == 4
    assert found == representative(base.sample(frac=1, random_state=1), masked, neither, 4)


def test_the_chosen_samples_have_their_answers(tmp_path):
    instances = make_instances("vqa", 4)
    instances = [replace(item, split="test") for item in instances[:3]] + instances[3:]
    base = answers([1.0, 1.0, 1.0, 1.0])
    masked = answers([0.0, 0.5, 1.0, 1.0], group="vqa+ocr", trial=-1)
    sets = {"dominant": ("vqa+ocr", frozenset([(0, 0)])), "specific": ("vqa", frozenset())}
    arguments = ("vqa", "llava", instances, base, masked, sets)
    frame = lens_samples(*arguments, ["vqa/2", "vqa/1"], 1)
    artifacts.write(tmp_path / "s.parquet", frame, LOGIT_LENS_SAMPLES)
    assert frame["instance_id"].tolist() == ["vqa/2"] * 2 + ["vqa/1"] * 2
    row = frame.query("sample == 1 and set == 'dominant'").iloc[0]
    assert (row["base_answer"], row["masked_answer"]) == ("said 1.0", "said 0.5")
    assert row["prompt"].startswith("Question: Is there a sign?") and row["target"] == "no"
    empty = frame.query("sample == 1 and set == 'specific'").iloc[0]
    assert empty["n_neurons"] == 0 and empty["masked_answer"] == empty["base_answer"]
    assert lens_samples(*arguments, None, 1)["instance_id"].tolist() == ["vqa/0"] * 2
    with pytest.raises(ValueError, match=r"'vqa/3' is no test instance of vqa, such as 'vqa/0'"):
        lens_samples(*arguments, ["vqa/3"], 1)
