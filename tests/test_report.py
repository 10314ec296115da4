"""The HTML page: self-contained, escaped, and its sentences follow from the tables."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hones_core.report.facts import card_links, cost
from hones_core.report.markdown import to_html
from hones_core.report.page import Section, render
from hones_core.report.samples import as_json, choose_samples, thumbnail
from hones_core.report.sections import PLANS, sections
from hones_core.report.steps import drawing
from hones_core.report.verdicts import headline, selectivity, steering
from hones_core.tasks.instances import Instance

ATTACK = '<script>alert("x")</script>'
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"></svg>'


def instance(number, question=ATTACK):
    answers = ("red", "blue", *["red"] * 8)
    return Instance(
        f"vqa/{number}", "vqa", "test", number, f"{number}.png", question, answers, (), -1
    )


def predictions(answers, **columns):
    return pd.DataFrame(
        [
            {"instance_id": f"vqa/{n}", "prediction": a, "utility": float(a == "red"), **columns}
            for n, a in enumerate(answers)
        ]
    )


@pytest.fixture
def samples(tmp_path):
    masked = predictions(["red", "blue", ATTACK], ranker="hones", seed=0)
    steered = pd.concat(
        [
            predictions(["red", "red", "red"], method="base"),
            predictions(["red", "red", "red"], method="hones"),
        ]
    )
    instances = [instance(number) for number in range(3)]
    for one in instances:
        Image.new("RGB", (400, 300), "red").save(tmp_path / one.image)
    chosen = choose_samples("toy", "llava", instances, masked, steered, 2)
    images = {one.image: thumbnail(tmp_path, one.image.removeprefix("vqa/")) for one in chosen}
    return as_json(chosen, images)


class Reader(HTMLParser):
    """Everything that a browser would load, and the scripts."""

    def __init__(self):
        super().__init__()
        self.links, self.scripts, self.open = [], [], None

    def handle_starttag(self, tag, attributes):
        self.open = tag
        if tag == "script":
            self.scripts.append(dict(attributes) | {"text": ""})
        values = dict(attributes)
        self.links += [values[name] for name in ("src", "href") if name in values]

    def handle_data(self, data):
        if self.open == "script":
            self.scripts[-1]["text"] += data

    def handle_endtag(self, tag):
        self.open = None


def page_of(samples, tmp_path):
    (tmp_path / "figure.svg").write_text(SVG)
    section = Section(
        f"Part {ATTACK}",
        "Why?",
        [f"Because {ATTACK}"],
        {"one": f"What **it** is.\n\n| a | b |\n| --- | --- |\n| {ATTACK} | **2** |"},
        {"a figure": tmp_path / "figure.svg"},
    )
    steps = drawing({f"{ATTACK}_{number}": [] for number in range(9)}, (), {})  # wide
    return render("HONES: run toy", ["It does."], [section], samples, steps, {"Facts": "- x: `1`"})


def test_the_page_loads_nothing_and_shows_scripts_of_annotations_as_text(samples, tmp_path):
    reader = Reader()
    page = page_of(samples, tmp_path)
    reader.feed(page)
    assert all(link.startswith(("#", "data:image/")) for link in reader.links) and reader.links
    assert len(reader.scripts) == 2  # the samples' data, and the page's own code
    assert ATTACK not in page and "alert" not in reader.scripts[1]["text"]
    data = json.loads(reader.scripts[0]["text"])
    assert reader.scripts[0]["type"] == "application/json"
    assert data["samples"][1]["prompt"].count(ATTACK) == 1  # whole, for textContent


def test_every_link_within_the_page_has_its_target(samples, tmp_path):
    page = page_of(samples, tmp_path)
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page


def test_samples_whose_answer_changes_come_first(samples):
    assert [one["instance"] for one in samples["samples"]] == ["vqa/1", "vqa/2"]
    first = samples["samples"][0]
    assert first["outputs"] == (
        ("base", "red", 1.0),
        ("masked", "blue", 0.0),
        ("steered", "red", 1.0),
    )
    assert first["reference"] == "red / blue" and first["changed"]
    assert samples["images"][first["image"]].startswith("data:image/jpeg;base64,")


def test_markdown_of_the_tables_becomes_escaped_html():
    text = (
        "What <b>.\n\n## llava (paper: x)\n\n| a | b\\|c |\n| --- | --- |\n| **1** |  |\n\n- a: `x`"
    )
    found = to_html(text)
    assert "<p>What &lt;b&gt;.</p>" in found and "<h4>llava (paper: x)</h4>" in found
    assert "<th>b|c</th>" in found and "<td><strong>1</strong></td><td></td>" in found
    assert "<li>a: <code>x</code></li>" in found


def estimates(name, value, low, high):
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def test_the_answer_follows_from_the_table():
    row = {"model": "toy", "ranker": "hones", "n_neurons": 26}
    table = pd.DataFrame(
        [
            row
            | {"task": task, "shown": shown}
            | estimates("drop", drop, drop - 1, drop + 1)
            | estimates("excess", drop - 1, drop - 2, drop)
            for task, drop, shown in (("vqa", 1.0, False), ("ocr", 9.0, True), ("avg", 5.0, True))
        ]
    )
    (said,) = headline(table)
    assert "costs 5.0 % [4.0, 6.0] of the score on average, 4.0 points [3.0, 5.0] more" in said
    assert "clear above random in OCR, not in VQA." in said
    (said,) = headline(table.assign(shown=False))
    assert "clear above random in no task" in said


def test_gains_and_selectivity_are_called_clear_only_beyond_their_intervals():
    row = {"model": "toy", "method": "hones", "task": "vqa"}
    for low, expected in ((0.1, "Clear gains: VQA."), (-0.1, "No gain is clear of 0.")):
        table = pd.DataFrame([row | estimates("gain", 0.5, low, 1.0)])
        assert steering(table)[0].endswith(expected)
    row = {
        "model": "toy",
        "kind": "top",
        "source_task": "vqa",
        "own_drop": 3.0,
        "other_drop": np.nan,
    }
    for low, expected in ((0.1, "Clearly selective: VQA."), (-0.1, "None is clearly selective.")):
        table = pd.DataFrame([row | estimates("index", 0.5, low, 1.0)])
        assert selectivity(table)[0].endswith(expected)


def test_sections_hold_what_the_run_made_and_no_other(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "figures" / "toy").mkdir(parents=True)
    (tmp_path / "tables" / "head_budget.md").write_text("Drops.")
    (tmp_path / "figures" / "toy" / "head_scores.svg").write_text(SVG)
    (found,) = sections(tmp_path / "tables", tmp_path / "figures", ["toy"])
    assert found.title == "Heads" and list(found.tables) == ["head_budget"]
    assert [path.name for path in found.figures.values()] == ["head_scores.svg"]
    assert len({plan.title for plan in PLANS}) == len(PLANS)


def test_neurons_pages_are_linked_and_nothing_else_can_be():
    found = to_html(card_links({"toy": {"vqa": (3, 217)}, "other": {}}))
    assert '<a href="neurons/toy/3-217.html">3/217</a></td><td>empty</td>' in found
    assert "<a" not in to_html("[x](javascript:alert(1)) [x](https://a.b/neurons/c.html)")


def test_time_and_memory_are_those_of_the_benchmark_files(tmp_path):
    assert cost(tmp_path) == "No times were recorded."
    for name, seconds in (("llava", "2.0"), ("qwen", "3.0")):
        path = tmp_path / "predict_base" / f"{name}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t100.4\n")
    (tmp_path / "build_splits.tsv").write_text("s\tmax_rss\n1.0\t-\n")
    lines = cost(tmp_path).splitlines()
    assert lines[2] == "| predict_base | 2 | 5 | 3 | 100 |"
    assert lines[3] == "| build_splits | 1 | 1 | 1 | 0 |"
