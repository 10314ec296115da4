"""Neuron cards: what they say, how they are written, and what they refuse."""

import base64
import io
import re
from dataclasses import asdict, replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from model_support import make_instances, stock_last_z
from PIL import Image

from hones_core import artifacts
from hones_core.artifacts import ArtifactError
from hones_core.attribution.rankers import order
from hones_core.engine.evaluate import Evaluator
from hones_core.neuron_card import main, write_card
from hones_core.neuron_card_data import CardError, read_card, read_cards
from hones_core.neuron_card_page import card_page
from hones_core.neuron_sets import overlap_groups, top_set
from hones_core.schemas.benchmark import INSTANCES
from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.neurons import NEURON_EFFECTS, NEURON_RANKING

pytest_plugins = ["model_fixtures"]

TASKS = ("vqa", "caption", "retrieval")
RATIO = 0.1
HOSTILE = "Is <b>this</b> & <script>alert('x')</script> a star?"


def instances_of(task):
    items = make_instances(task, 5)
    if task == "vqa":
        items[0] = replace(items[0], question=HOSTILE)
    items.append(replace(items[4], instance_id=f"{task}/test", split="test"))
    return items


def write_run(tiny, run, model_name="toy"):
    """The artifacts that a card reads, of random scores; returns the model's folder."""
    folder, shape = run / model_name, (tiny.adapter.n_layers, tiny.adapter.n_neurons)
    model = {"path": str(tiny.folder), "revision": None, "family": tiny.adapter.family}
    model |= {"dtype": "float32", "device": "cpu", "batch_size": 2}
    settings = {"config": {"model": model, "image_folder": str(tiny.images)}}
    sets = {}
    for number, task in enumerate(TASKS):
        generator = np.random.default_rng(number)
        frames = []
        for ranker, seed in (("hones", 0), ("ma", 0), ("random", 0), ("random", 1)):
            frame = order(generator.random(shape), np.zeros(shape))
            frames.append(frame.assign(ranker=ranker, seed=seed))
        ranking = pd.concat(frames)
        artifacts.write(folder / task / "neuron_ranking.parquet", ranking, NEURON_RANKING)
        sets[task] = top_set(ranking, "hones", RATIO)
        layer, neuron = (part.ravel() for part in np.indices(shape))
        effects = pd.DataFrame({"head_layer": -1, "head": -1, "layer": layer, "neuron": neuron})
        effects = effects.assign(contribution=generator.normal(size=len(effects)), drop=0.0)
        path = folder / task / "neuron_effects.parquet"
        artifacts.write(path, effects, NEURON_EFFECTS, settings)
        rows = pd.DataFrame([asdict(item) for item in instances_of(task)])
        path = run / "benchmark" / "instances" / f"{task}.parquet"
        artifacts.write(path, rows, INSTANCES)
    made_by = {"config": {"top_ratio": RATIO}}
    path = folder / "overlap_groups.parquet"
    artifacts.write(path, overlap_groups(sets), OVERLAP_GROUPS, made_by)
    return folder


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    return write_run(tiny, tmp_path_factory.mktemp("results") / "run")


def shared_neuron(folder):
    groups = artifacts.read(folder / "overlap_groups.parquet", OVERLAP_GROUPS)
    row = groups.sort_values("n_tasks").iloc[-1]
    return int(row["layer"]), int(row["neuron"]), row["group"]


def test_a_card_holds_the_scores_and_what_the_model_does(tiny, folder):
    layer, neuron, group = shared_neuron(folder)
    card = read_card(folder, layer, neuron, adapter=tiny.adapter)
    assert card.group == group and card.shape == (2, 24) and card.top_ratio == RATIO
    for task in TASKS:
        ranking = artifacts.read(folder / task / "neuron_ranking.parquet", NEURON_RANKING)
        own = ranking.query("layer == @layer and neuron == @neuron").set_index(["ranker", "seed"])
        found = card.ranks[card.ranks["task"] == task].set_index(["ranker", "seed"])
        assert found["rank"].to_dict() == own["rank"].to_dict()
        mine = own.loc[("hones", 0), "rank"]
        others = ranking.query("ranker == 'hones' and layer == @layer and neuron != @neuron")
        assert card.layer_share[task] == pytest.approx(100 * (others["rank"] > mine).mean())
    with torch.no_grad():
        column = tiny.layers[layer].mlp.down_proj.weight[:, neuron]
        logits = tiny.stock.lm_head.weight @ column
    for tokens, sign in ((card.raised, 1), (card.lowered, -1)):
        expected = (sign * logits).argsort(descending=True)[: len(tokens)]
        np.testing.assert_allclose([value for _, value in tokens], logits[expected], atol=1e-6)
        said = tiny.processor.tokenizer.batch_decode(expected[:, None].tolist())
        whole = [i for i, text in enumerate(said) if "\ufffd" not in text]  # not part of a letter
        assert [tokens[i][0] for i in whole] == [said[i] for i in whole]


def test_the_samples_are_those_with_the_largest_activation(tiny, folder):
    layer, neuron, _ = shared_neuron(folder)
    card = read_card(folder, layer, neuron, adapter=tiny.adapter)
    for task in TASKS:
        evaluator = tiny.evaluator(task)
        z = {
            item.instance_id: float(
                stock_last_z(tiny, item.image, evaluator.text(item))[layer, neuron]
            )
            for item in instances_of(task)
            if item.split == "discovery"
        }
        shown = card.samples[task]
        assert card.n_samples[task] == len(z) == len(shown) == 5
        assert [one.instance_id for one in shown] == sorted(z, key=lambda one: -abs(z[one]))
        for one in shown:
            assert one.activation == pytest.approx(z[one.instance_id], abs=1e-4)
    few = read_card(folder, layer, neuron, samples=2, adapter=tiny.adapter)
    assert all(len(found) == few.n_samples[task] == 2 for task, found in few.samples.items())


def test_several_cards_run_each_prompt_once_and_are_those_made_one_by_one(
    tiny, folder, monkeypatch
):
    places = [(1, 3), (0, 7), shared_neuron(folder)[:2]]
    expected = [card_page(read_card(folder, *place, adapter=tiny.adapter)) for place in places]
    run = []
    encode = Evaluator.encode
    monkeypatch.setattr(
        Evaluator, "encode", lambda self, some: run.extend(some) or encode(self, some)
    )
    found = [card_page(card) for card in read_cards(folder, places, adapter=tiny.adapter)]
    assert found == expected and len(set(found)) == len(places)
    names = [one.instance_id for one in run]
    assert len(names) == len(set(names)) == 5 * len(TASKS)


class Elements(HTMLParser):
    """Checks that every element is closed, and keeps the text and all attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], "", []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_stands_alone_and_escapes_what_it_shows(tiny, folder):
    layer, neuron, group = shared_neuron(folder)
    card = read_card(folder, layer, neuron, adapter=tiny.adapter)
    text = card_page(replace(card, raised=[("<i>", 1.5), *card.raised]))
    page = Elements()
    page.feed(text)
    assert page.open == []
    assert HOSTILE in page.text and "<script" not in text and "<b>this" not in text
    assert "<i>" in page.text and f"Layer {layer}, neuron {neuron}" in page.text
    assert (
        "of these tasks and no other" if "+" in group else "of this task and no other"
    ) in page.text
    sources = [value for tag, name, value in page.attributes if name in ("src", "href")]
    assert len(sources) == 15 and all(one.startswith("data:image/png") for one in sources)
    image = Image.open(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    assert image.mode == "RGB" and max(image.size) <= 160
    assert not re.search(r"https?:|url\(|@import", text)
    assert text == card_page(replace(card, raised=[("<i>", 1.5), *card.raised]))


def test_a_neuron_in_no_set_says_so(tiny, folder):
    groups = artifacts.read(folder / "overlap_groups.parquet", OVERLAP_GROUPS)
    taken = set(zip(groups["layer"], groups["neuron"], strict=True))
    layer, neuron = next((0, i) for i in range(24) if (0, i) not in taken)
    card = read_card(folder, layer, neuron, adapter=tiny.adapter)
    assert card.group == "" and "In no task's top 10 % of HONES" in card_page(card)


def test_photographs_are_shrunk(tiny, folder):
    card = read_card(folder, 0, 0, samples=1, adapter=tiny.adapter)
    large = replace(card.samples["vqa"][0], image=Image.new("RGB", (640, 480), "red"))
    text = card_page(replace(card, samples={"vqa": [large]}))
    assert "data:image/jpeg" in text and len(text) < 20_000


def test_the_command_writes_a_page(tiny, folder, tmp_path, capsys):
    assert main([str(folder), "1", "3", "--samples", "2"]) == 0
    path = folder / "neuron_cards" / "1-3.html"
    assert capsys.readouterr().out.strip() == str(path)
    assert path.read_text() == card_page(read_card(folder, 1, 3, samples=2))  # loads the model
    assert (
        main([str(folder), "1", "3", "--samples", "1", "--output", str(tmp_path / "c.html")]) == 0
    )
    assert (tmp_path / "c.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("layer", "neuron", "message"),
    [
        (2, 0, "no layer 2: the model has 2 layers (0 to 1) of 24 neurons (0 to 23)"),
        (-1, 0, "no layer -1"),
        (0, 24, "no neuron 24: the model has 2 layers"),
    ],
)
def test_a_neuron_that_does_not_exist(folder, layer, neuron, message, capsys):
    with pytest.raises(CardError, match=re.escape(message)):
        read_card(folder, layer, neuron)
    assert main([str(folder), "--", str(layer), str(neuron)]) == 1
    assert message in capsys.readouterr().err


def test_folders_that_hold_no_results(tiny, tmp_path, capsys):
    with pytest.raises(CardError, match="is no folder; give a model's results"):
        read_card(tmp_path / "nowhere", 0, 0)
    with pytest.raises(CardError, match="holds no neuron ranking of any task"):
        read_card(tmp_path, 0, 0)
    assert main([str(tmp_path), "0", "0"]) == 1
    assert "holds no neuron ranking" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("missing", "rule"),
    [
        ("toy/overlap_groups.parquet", "build_overlap_groups"),
        ("toy/vqa/neuron_effects.parquet", "measure_neuron_effects"),
        ("benchmark/instances/caption.parquet", "build_instances"),
    ],
)
def test_a_missing_artifact_is_named_with_its_rule(tiny, tmp_path, missing, rule):
    folder = write_run(tiny, tmp_path / "run")
    (tmp_path / "run" / missing).unlink()
    with pytest.raises(ArtifactError, match=f"{missing} is missing.*{rule}"):
        read_card(folder, 0, 0, adapter=tiny.adapter)


def test_another_model_than_was_measured_is_refused(grouped, folder):
    with pytest.raises(CardError, match="not the one that was measured"):
        read_card(folder, 0, 0, adapter=grouped.adapter)


def test_a_card_is_written_where_it_is_asked_for(tiny, folder, tmp_path):
    card = read_card(folder, 0, 0, samples=1, adapter=tiny.adapter)
    assert write_card(card, tmp_path / "x" / "y.html") == tmp_path / "x" / "y.html"
    assert (tmp_path / "x" / "y.html").read_text() == card_page(card)
