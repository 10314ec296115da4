"""Token-level measurements against slow transcriptions over the stock model."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from model_support import make_instances, stock_last_z, stock_logits
from token_level_support import SHAPE, grid_of, last_logits, target_of

from hones_core import artifacts
from hones_core.attribution.token_level.corruption import (
    Corrupter,
    Corruption,
    mean_image_embedding,
    swapped_images,
)
from hones_core.attribution.token_level.dla import direct_attributions, measure_dla
from hones_core.attribution.token_level.group_patching import (
    group_bounds,
    measure_group_patching,
)
from hones_core.attribution.token_level.last_position import LastPosition, first_target_ids
from hones_core.attribution.token_level.llm_knowledge import increases, measure_llm_knowledge
from hones_core.attribution.token_level.qrnca import attributions, measure_qrnca
from hones_core.engine.evaluate import Evaluator
from hones_core.models import load_model
from hones_core.schemas.rankers import DLA_SCORES, GROUP_PATCHING_EFFECTS, LLM_KNOWLEDGE_SCORES

pytest_plugins = ["model_fixtures"]


def inputs_of(tiny, item, text, modules) -> list[torch.Tensor]:
    """The input of each module at the last position, [d]."""
    seen = []
    handles = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1]))
        for module in modules
    ]
    with torch.no_grad():
        stock_logits(tiny, item.image, text)
    for handle in handles:
        handle.remove()
    return seen


def norm_factor(norm, hidden) -> torch.Tensor:
    """γ / rms at `hidden`, [d], as the norm itself has it."""
    with torch.no_grad():
        return norm(hidden) / hidden


# --- DLA -----------------------------------------------------------------------------------------


def dla_by_autograd(tiny, evaluator, item) -> np.ndarray:
    """z times the gradient of the logit that a frozen final norm reads from the direct path."""
    text = evaluator.text(item)
    norm, unembedding = tiny.stock.model.language_model.norm, tiny.stock.lm_head.weight
    (final,) = inputs_of(tiny, item, text, [norm])
    factor = norm_factor(norm, final)
    grid = np.zeros(SHAPE)
    for layer, z in enumerate(stock_last_z(tiny, item.image, text)):
        leaf = z.clone().requires_grad_()
        weight = tiny.layers[layer].mlp.down_proj.weight.detach()
        residual = final - weight @ z + weight @ leaf
        logit = unembedding[target_of(tiny, evaluator, item)].detach() @ (factor * residual)
        (gradient,) = torch.autograd.grad(logit, leaf)
        grid[layer] = (z * gradient).numpy()
    return grid


@pytest.mark.parametrize("batch_size", [1, 3])
def test_dla(tiny, tmp_path, batch_size):
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa", batch_size)
    found = measure_dla(evaluator, instances)
    artifacts.write(tmp_path / "dla.parquet", found, DLA_SCORES, {})
    expected = np.mean([dla_by_autograd(tiny, evaluator, item) for item in instances], axis=0)
    np.testing.assert_allclose(grid_of(found, "attribution"), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.1
    assert set(found["n_samples"]) == {3}


def test_dla_adds_up_to_what_the_mlps_write(tiny):
    """Over all neurons it is the frozen-norm logit of the sum of the layers' MLP outputs."""
    item = make_instances("vqa")[1]
    evaluator = tiny.evaluator("vqa")
    text = evaluator.text(item)
    norm = tiny.stock.model.language_model.norm
    (final,) = inputs_of(tiny, item, text, [norm])
    z = stock_last_z(tiny, item.image, text)
    with torch.no_grad():
        written = sum(layer.mlp.down_proj(z[place]) for place, layer in enumerate(tiny.layers))
        row = tiny.stock.lm_head.weight[target_of(tiny, evaluator, item)]
        expected = row @ (norm_factor(norm, final) * written)
        targets = first_target_ids(evaluator, [item])
        found = direct_attributions(tiny.adapter, evaluator.encode([item]), targets)
    assert found.sum().item() == pytest.approx(expected.item(), abs=1e-4)


# --- LLM-Knowledge -------------------------------------------------------------------------------


def increases_by_hand(tiny, evaluator, item, variance) -> np.ndarray:
    """Neuron by neuron, over the whole vocabulary."""
    text = evaluator.text(item)
    norm, unembedding = tiny.stock.model.language_model.norm, tiny.stock.lm_head.weight
    middles = [layer.post_attention_layernorm for layer in tiny.layers]
    *residuals, final = inputs_of(tiny, item, text, [*middles, norm])
    target = target_of(tiny, evaluator, item)
    grid = np.zeros(SHAPE)
    with torch.no_grad():
        z = stock_last_z(tiny, item.image, text)
        for layer, residual in enumerate(residuals):
            factor = norm_factor(norm, residual if variance == "layer" else final)
            before = torch.log_softmax(unembedding @ (factor * residual), 0)[target]
            for neuron in range(24):
                column = tiny.layers[layer].mlp.down_proj.weight[:, neuron]
                added = factor * (residual + z[layer, neuron] * column)
                after = torch.log_softmax(unembedding @ added, 0)[target]
                grid[layer, neuron] = (after - before).item()
    return grid


@pytest.mark.parametrize("variance", ["layer", "final"])
def test_llm_knowledge(tiny, tmp_path, variance):
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa", 2)
    found = measure_llm_knowledge(evaluator, instances, variance)
    artifacts.write(tmp_path / "knowledge.parquet", found, LLM_KNOWLEDGE_SCORES, {})
    expected = np.mean(
        [increases_by_hand(tiny, evaluator, item, variance) for item in instances], axis=0
    )
    np.testing.assert_allclose(grid_of(found, "increase"), expected, atol=1e-5)
    assert np.abs(expected).max() > 0.01


def test_the_size_of_a_block_does_not_matter(tiny):
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa")
    targets = first_target_ids(evaluator, instances)
    with torch.no_grad():
        batch = evaluator.encode(instances)
        whole = increases(tiny.adapter, batch, targets)
        for block in (1, 5 * len(tiny.adapter.unembedding)):  # one neuron; five, and a rest
            found = increases(tiny.adapter, batch, targets, block=block)
            torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)


def test_a_neuron_that_is_off_adds_nothing(tiny):
    """Silenced neurons have increase and attribution 0; others are not 0."""
    item = make_instances("vqa")[:1]
    evaluator = tiny.evaluator("vqa")
    targets = first_target_ids(evaluator, item)
    weight = tiny.adapter.layers[1].mlp.up_proj.weight
    kept = weight[5].clone()
    try:
        with torch.no_grad():
            weight[5] = 0
            batch = evaluator.encode(item)
            found = increases(tiny.adapter, batch, targets)
            direct = direct_attributions(tiny.adapter, batch, targets)
        integrated = attributions(tiny.adapter, batch, targets, 2, 8)
    finally:
        with torch.no_grad():
            weight[5] = kept
    for values in (direct, integrated):
        assert values[0, 1, 5] == 0
        assert (values[0, 1, :5] != 0).all()
    assert found[0, 1, 5].abs() < 1e-6
    assert (found[0, 1, :5].abs() > 1e-6).all()


# --- Group Patching ------------------------------------------------------------------------------


def effects_by_hooks(tiny, evaluator, item, swapped, bounds) -> dict:
    """Whole forward passes with a group's z of the swapped image put in at the last position."""
    text = evaluator.text(item)
    target = target_of(tiny, evaluator, item)
    clean, other = (stock_last_z(tiny, image, text) for image in (item.image, swapped.image))
    unpatched = stock_logits(tiny, item.image, text)[-1, target]
    effects = {}
    for layer in range(2):
        for first, size in bounds:
            z = clean[layer].clone()
            z[first : first + size] = other[layer, first : first + size]
            patched = last_logits(tiny, item, text, layer, z)[target]
            effects[layer, first, item.instance_id] = (unpatched - patched).item()
    return effects


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_group_patching(tiny, tmp_path, batch_size):
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa", batch_size)
    found = measure_group_patching(evaluator, instances, groups_per_layer=5)
    artifacts.write(tmp_path / "effects.parquet", found, GROUP_PATCHING_EFFECTS, {})
    bounds = group_bounds(24, 5)
    swapped = swapped_images(instances)
    expected: dict = {}
    for item in instances:
        expected |= effects_by_hooks(tiny, evaluator, item, swapped[item.instance_id], bounds)
    keys = found[["layer", "first_neuron", "instance_id"]].itertuples(index=False, name=None)
    effects = dict(zip(keys, found["effect"], strict=True))
    assert effects == pytest.approx(expected, abs=1e-4)
    assert max(expected.values()) > 0.05
    sizes = found.groupby("first_neuron")["n_neurons"].unique().map(lambda x: x.item())
    assert list(sizes.items()) == bounds


def test_groups_cover_a_layer_once():
    for n_neurons, groups in ((24, 5), (24, 24), (24, 1), (11008, 10)):
        bounds = group_bounds(n_neurons, groups)
        covered = [neuron for first, size in bounds for neuron in range(first, first + size)]
        assert covered == list(range(n_neurons))
        sizes = [size for _, size in bounds]
        assert len(bounds) == groups and max(sizes) - min(sizes) <= 1
    with pytest.raises(ValueError, match="groups_per_layer is 25, but a layer has 24 neurons"):
        group_bounds(24, 25)


@pytest.mark.parametrize("kind", ["gaussian", "mean"])
def test_corrupted_embeddings(tiny, kind):
    """Only the image's tokens change, alike in any batch."""
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa")
    corrupter = Corrupter(evaluator, instances, Corruption(kind, noise_multiple=2.0, seed=1))
    with torch.no_grad():
        clean = evaluator.encode(instances)
        found = corrupter.batch(instances, clean)
        alone_clean = evaluator.encode(instances[:1])
        alone = corrupter.batch(instances[:1], alone_clean)
    is_image = clean.input_ids == tiny.adapter.image_token
    assert torch.equal(found.embeddings[~is_image], clean.embeddings[~is_image])
    first = clean.input_ids[0] == tiny.adapter.image_token
    of_alone = alone_clean.input_ids[0] == tiny.adapter.image_token
    torch.testing.assert_close(found.embeddings[0, first], alone.embeddings[0, of_alone])
    if kind == "mean":
        images = torch.stack([clean.embeddings[row, is_image[row]] for row in range(3)])
        mean = mean_image_embedding(evaluator, instances)
        torch.testing.assert_close(mean, images.flatten(0, 1).mean(0))
        assert (found.embeddings[is_image] == mean).all()
    else:
        for row in range(3):
            own = clean.embeddings[row, is_image[row]]
            noise = found.embeddings[row, is_image[row]] - own
            assert noise.std().item() == pytest.approx(2 * own.std().item(), rel=0.25)
        again = Corrupter(evaluator, instances, Corruption(kind, 2.0, seed=2))
        assert not torch.equal(again.batch(instances, clean).embeddings, found.embeddings)


def test_other_corruptions_change_the_effects(tiny):
    instances = make_instances("vqa")
    evaluator = tiny.evaluator("vqa")
    effects = [
        measure_group_patching(evaluator, instances, 4, Corruption(kind))["effect"]
        for kind in ("image_swap", "gaussian", "mean")
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (effects[one] - effects[other]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="unknown corruption 'blur'; known: image_swap"):
        Corruption("blur")


def test_swapped_images_are_other_images():
    one, two, three = make_instances("vqa")
    same = replace(two, image=one.image)
    swapped = swapped_images([one, same, three])
    assert [swapped[item.instance_id].image for item in (one, same, three)] == [
        three.image,
        three.image,
        one.image,
    ]
    assert swapped[one.instance_id].question == one.question
    with pytest.raises(ValueError, match="at least two different images"):
        swapped_images([one, same])


# --- the last position alone ---------------------------------------------------------------------


def test_the_last_position_alone_is_the_whole_prompt(grouped):
    """With prompts of different lengths, grouped-query attention and repeated rows."""
    instances = make_instances("vqa")
    evaluator = grouped.evaluator("vqa")
    rows = torch.tensor([2, 0, 0, 1])
    with torch.no_grad():
        batch = evaluator.encode(instances)
        whole = grouped.adapter.hidden_states(batch)[:, -1]
        last = LastPosition.of(grouped.adapter, batch)
        for _ in range(2):  # the cache is not used up
            torch.testing.assert_close(last.hidden(rows), whole[rows], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_near_and_its_scores_are_float32(tiny, dtype):
    instances = make_instances("vqa")
    adapter = load_model(str(tiny.folder), "llava", dtype, "cpu")
    half, whole = Evaluator(adapter, "vqa", tiny.images, 4), tiny.evaluator("vqa")
    measures = {
        "attribution": (measure_dla, measure_qrnca),
        "increase": (measure_llm_knowledge,),
        "effect": (measure_group_patching,),
    }
    for column, functions in measures.items():
        for measure in functions:
            rough, exact = (measure(evaluator, instances)[column] for evaluator in (half, whole))
            assert np.corrcoef(rough, exact)[0, 1] > 0.97
            assert pd.Series(rough).nunique() > 0.8 * len(rough)  # not rounded to half precision
