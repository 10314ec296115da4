"""The truth of the planted models is a fact: what is said to matter matters, and nothing else."""

import pandas as pd
import pytest
import torch
from PIL import Image
from planted_support import BROKEN, INTACT, model

from hones_core import artifacts
from hones_core.engine.activations import recorded_activations
from hones_core.engine.interventions import MeanReplaceHead, ZeroNeurons
from hones_core.models import load_model
from hones_core.planted.circuit import DISTRACTORS, HEADS, LAYERS, NEURONS, Strengths
from hones_core.planted.plan import labelled, plan
from hones_core.planted.plan import truth as truth_of
from hones_core.planted.world import CONTENTS, TASKS
from hones_core.schemas.planted import PLANTED_TRUTH

STRENGTHS = (1.0, 10.0)
SILENCED = (*DISTRACTORS, "background", "other_task", "cancelling")


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("task", TASKS)
def test_planted_neurons_carry_the_task_and_no_others_do(world, family, task, strength):
    adapter, truth = model(family, strength)
    sets = {label: labelled(truth, task, label) for label in ("planted", *SILENCED)}
    sets["all distractors"] = set().union(*(sets[label] for label in DISTRACTORS))
    zeroed = {label: ZeroNeurons.of(neurons) for label, neurons in sets.items()}
    zeroed["both"] = ZeroNeurons.of(sets["cancelled"] | sets["cancelling"])
    utility = world.utility(adapter, task, {"base": None, **zeroed})
    assert utility["base"] >= INTACT
    assert utility["planted"] <= BROKEN[task]
    for label in (*SILENCED, "both", "all distractors"):
        assert utility[label] >= INTACT, label


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("task", TASKS)
def test_routing_heads_carry_the_task_and_no_others_do(world, family, task, strength):
    adapter, truth = model(family, strength)
    heads = [(layer, head) for layer in range(LAYERS) for head in range(HEADS)]
    utility = world.utility(adapter, task, {str(place): MeanReplaceHead(*place) for place in heads})
    routing = labelled(truth, task, "routing", "head")
    assert len(routing) == 2
    for place in heads:
        if place in routing:
            assert utility[str(place)] <= BROKEN[task], place
        else:
            assert utility[str(place)] >= INTACT, place


@pytest.mark.parametrize("strength", STRENGTHS)
@pytest.mark.parametrize("task", TASKS)
def test_each_single_planted_neuron_writes_its_part(world, family, task, strength):
    """One word in seven loses half of its logit; no distractor alone costs nearly as much."""
    adapter, truth = model(family, strength)
    planted = labelled(truth, task, "planted")
    assert len(planted) == 2 * CONTENTS
    others = [place for label in DISTRACTORS for place in sorted(labelled(truth, task, label))[:4]]
    places = [*planted, *others]
    zeroed = [ZeroNeurons.of([place]) for place in places]
    base, *margins = world.margins(adapter, task, [None, *zeroed])
    lost = {place: base - margin for place, margin in zip(places, margins, strict=True)}
    assert min(lost[place] for place in planted) > 0.4  # of 5 in every seventh sample
    assert max(abs(lost[place]) for place in others) < 0.05


@pytest.mark.parametrize("task", TASKS)
def test_distractors_do_what_they_are_called_after(world, family, task):
    adapter, truth = model(family)
    items = world.instances[task]
    batch = world.evaluator(adapter, task).encode(items)
    with torch.inference_mode(), recorded_activations(adapter, lambda z: z) as records:
        adapter.hidden_states(batch)

    def z(label):  # [B, T, neurons of the label]
        return torch.stack(
            [records[layer][..., i] for layer, i in labelled(truth, task, label)], -1
        )

    tokens = batch.attention_mask.bool()
    assert (z("polysemantic")[tokens] > 5).all()  # every token of every sample
    assert (z("aligned")[:, -1] > 5).all()  # every sample, whatever the image
    assert z("aligned")[:, -1].std(0).max() < 1e-3
    assert z("silent").abs().max() < 0.01
    fires = z("planted")[:, -1] > 1
    assert fires.float().mean().item() == pytest.approx(1 / CONTENTS)
    assert torch.equal(z("cancelled")[:, -1].sort(-1)[0][:, -1], z("planted")[:, -1].amax(-1))
    assert torch.allclose(
        z("cancelling")[:, -1].amax(-1), z("cancelled")[:, -1].amax(-1), rtol=1e-3
    )


@pytest.mark.parametrize("task", TASKS)
def test_cancelled_neurons_write_the_answer_and_are_cancelled(world, family, task):
    adapter, truth = model(family)
    cancelled, cancelling = (labelled(truth, task, label) for label in ("cancelled", "cancelling"))
    sets = [ZeroNeurons.of(cancelled), ZeroNeurons.of(cancelling)]
    base, without_both, uncancelled = world.margins(adapter, task, [None, *sets])
    assert without_both == pytest.approx(base, abs=0.1)
    assert uncancelled > base + 3


def test_the_truth_names_everything_once(family, tmp_path):
    _, truth = model(family)
    artifacts.write(tmp_path / "truth.parquet", truth.assign(model=family), PLANTED_TRUTH, {})
    again = artifacts.read(tmp_path / "truth.parquet", PLANTED_TRUTH)
    for _, rows in again.groupby("task"):
        kinds = rows["kind"].value_counts()
        assert kinds.to_dict() == {"neuron": LAYERS * NEURONS, "head": LAYERS * HEADS}
    with pytest.raises(ValueError, match="no head is labelled 'planted' for vqa"):
        labelled(truth, "vqa", "planted", "head")


def test_places_are_the_same_for_all_strengths_and_other_for_other_seeds(family):
    (_, weak), (_, strong) = model(family, 0.1), model(family, 10.0)
    pd.testing.assert_frame_equal(weak, strong)
    assert not weak.equals(truth_of(plan(Strengths(), seed=1)))


@pytest.mark.parametrize("task", TASKS)
def test_the_fast_engine_and_the_plain_one_agree(world, family, task):
    adapter, _ = model(family)
    items = world.instances[task][:8]
    said = []
    for engine in ("fast", "plain"):
        evaluator = world.evaluator(adapter, task, engine)
        chunks = [evaluator.prepare(chunk) for chunk in evaluator.chunks(items)]
        found = [evaluator.outcomes_under(chunk, {"base": None})["base"] for chunk in chunks]
        said.append([one.prediction for outcomes in found for one in outcomes])
    assert said[0] == said[1]


def test_the_stock_classes_answer_from_a_saved_checkpoint(world, tmp_path):
    """Saved, loaded as any other checkpoint, and run by `generate` without this project's code."""
    adapter, _ = model("llava")
    adapter.model.save_pretrained(tmp_path)
    adapter.tokenizer.save_pretrained(tmp_path)
    adapter.image_processor.save_pretrained(tmp_path)
    loaded = load_model(str(tmp_path), "llava")
    for task in ("vqa", "ocr", "caption"):
        for item in world.instances[task][:2]:
            text = world.evaluator(adapter, task).text(item).replace("<image>", "<image>" * 16)
            inputs = loaded.tokenizer(text, return_tensors="pt")
            picture = Image.open(world.folder / item.image)
            pixels = loaded.image_processor(images=picture, return_tensors="pt")["pixel_values"]
            tokens = loaded.model.generate(
                **inputs,
                pixel_values=pixels,
                do_sample=False,
                max_new_tokens=6,
                eos_token_id=loaded.stop_ids,
                pad_token_id=0,
            )[0, inputs["input_ids"].shape[1] :]
            said = loaded.tokenizer.decode(tokens, skip_special_tokens=True)
            assert said == item.references[0]
