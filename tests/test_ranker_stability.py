"""Stability: pooled parts are the whole, halves are disjoint, agreement counted by hand."""

import numpy as np
import pandas as pd
import pytest
from model_support import make_instances

from hones_core import artifacts
from hones_core.attribution.activations import measure_activations
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.attribution.token_level.dla import measure_dla
from hones_core.attribution.token_level.qrnca import measure_qrnca
from hones_core.ranker_catalogue import CATALOGUE, can_be_drawn
from hones_core.ranker_stability import (
    KEYS,
    SUMMED,
    _clipped,
    divide,
    measure_stability,
    pool,
)
from hones_core.schemas.agreement import RANKER_STABILITY, STABILITY
from hones_core.tables.plain import write_plain_table
from hones_core.tables.stability import stability

pytest_plugins = ["model_fixtures"]

HEADS = [(0, 1), (1, 2)]


def head_ranking() -> pd.DataFrame:
    rows = [(0, 0, 1, 0.5, True), (1, 1, 2, 0.25, True), (2, 0, 0, 0.0, False)]
    return pd.DataFrame(rows, columns=["rank", "layer", "head", "score", "selected"])


@pytest.fixture(scope="module")
def instances():
    return make_instances("vqa", 12)


@pytest.fixture(scope="module")
def measures(tiny, instances):
    evaluator = tiny.evaluator("vqa")
    return {
        "neuron_effects": lambda some: measure_neuron_effects(evaluator, some, instances, HEADS),
        "activation_statistics": lambda some: measure_activations(evaluator, some),
        "dla_scores": lambda some: measure_dla(evaluator, some),
        "qrnca_scores": lambda some: measure_qrnca(evaluator, some, steps=2),
    }


def test_every_artifact_that_can_be_drawn_can_be_pooled():
    needed = {a for name in CATALOGUE if can_be_drawn(name) for a in CATALOGUE[name].artifacts}
    assert needed - {"head_ranking"} == set(KEYS)


@pytest.mark.parametrize(
    "name", ["neuron_effects", "activation_statistics", "dla_scores", "qrnca_scores"]
)
def test_pooled_parts_are_the_measurement_of_all(measures, instances, name):
    """With parts of unequal size."""
    parts = [instances[:2], instances[2:7], instances[7:]]
    measure = measures[name]
    pooled = pool(name, [measure(part) for part in parts], [len(part) for part in parts])
    whole = measure(instances)
    key = KEYS[name]
    pd.testing.assert_frame_equal(
        pooled.sort_values(key, ignore_index=True)[whole.columns],
        whole.sort_values(key, ignore_index=True),
        atol=1e-6,
        check_dtype=False,
    )


def looked_up(name: str, frames: list, sizes: list) -> pd.DataFrame:
    """The pooled rows, whatever their order in the parts: grouped by key."""
    key, weights = KEYS[name], np.asarray(sizes) / sum(sizes)
    frames = [
        frame.assign(
            **{
                column: frame[column] * (1 if column in SUMMED else weight)
                for column in frame.columns.drop(key)
            }
        )
        for frame, weight in zip(frames, weights, strict=True)
    ]
    return pd.concat(frames).groupby(key, as_index=False).sum()


def random_parts(name: str, sizes: list) -> list[pd.DataFrame]:
    """Parts of an artifact with some of its columns, whose heads are not in their order."""
    places = pd.MultiIndex.from_product([range(3), range(40)], names=["layer", "neuron"])
    frame = places.to_frame(index=False)
    if name == "neuron_effects":
        heads = [(-1, -1), (2, 3), (0, 1)]
        frame = pd.concat([frame.assign(head_layer=a, head=b) for a, b in heads])
    generator = np.random.default_rng(0)
    return [
        frame.assign(
            contribution=generator.normal(size=len(frame)),
            drop=generator.random(len(frame)),
            n_samples=size,
            occurrences=generator.integers(0, 9, len(frame)),
        )
        for size in sizes
    ]


@pytest.mark.parametrize("name", ["neuron_effects", "activation_statistics"])
def test_rows_added_as_they_stand_are_those_looked_up_by_their_keys(name):
    sizes = [7, 2, 5]
    parts = random_parts(name, sizes)
    found, expected = pool(name, parts, sizes), looked_up(name, parts, sizes)
    assert found["n_samples"].unique().tolist() == [14]
    assert found[KEYS[name]].equals(parts[0][KEYS[name]].reset_index(drop=True))
    pd.testing.assert_frame_equal(
        found.sort_values(KEYS[name], ignore_index=True)[list(expected)],
        expected,
        rtol=1e-12,
        atol=1e-15,
    )


def test_parts_of_other_rows_are_not_pooled():
    first, second = random_parts("neuron_effects", [1, 1])
    for other in (second[:-1], second[::-1], second.assign(head=0)):
        with pytest.raises(ValueError, match="neuron_effects: part 1 has other rows"):
            pool("neuron_effects", [first, other], [1, 1])


def test_without_rankers_nothing_is_measured_and_the_table_is_empty(tmp_path):
    """As for OCR, if the only ranker is one of VQA; and for all tasks, if none is named."""

    def measure(_):
        raise AssertionError("not to be called")

    parts = [["a"], ["b"]]
    frame = measure_stability(parts, {"x": measure}, head_ranking(), [], 0.1, 5, "per_sample", 0)
    artifacts.write(tmp_path / "none.parquet", frame, RANKER_STABILITY, {})
    none = artifacts.read(tmp_path / "none.parquet", RANKER_STABILITY)
    some = pd.DataFrame([("ma", 0, 2, 0.5, 0.5), ("ma", 1, 2, 1.0, 0.5)], columns=none.columns)
    for tasks, rows in (({"vqa": some, "ocr": none}, 1), ({"vqa": none, "ocr": none}, 0)):
        table = stability({("llava", task): one for task, one in tasks.items()}, 0.1)
        write_plain_table(table, STABILITY, tmp_path / "stability")
        read = artifacts.read(tmp_path / "stability.parquet", STABILITY)
        assert len(read) == rows and read["task"].tolist() == ["vqa"] * rows
        assert (tmp_path / "stability.md").read_text().count("\n| llava |") == rows


def test_drops_clipped_after_the_mean_are_those_of_the_pooled_means(tiny, instances):
    evaluator = tiny.evaluator("vqa")

    def measure(some):
        return measure_neuron_effects(evaluator, some, instances, HEADS, clip="after_mean")

    pooled = pool("neuron_effects", [measure(instances[:3]), measure(instances[3:])], [3, 9])
    found = _clipped({"neuron_effects": pooled}, "after_mean")["neuron_effects"]
    key = KEYS["neuron_effects"]
    pd.testing.assert_series_equal(
        found.sort_values(key)["drop"].reset_index(drop=True),
        measure(instances).sort_values(key)["drop"].reset_index(drop=True),
        atol=1e-6,
    )
    assert not np.allclose(pooled["drop"], found["drop"], atol=1e-6)


def test_parts_are_disjoint_exhaustive_and_seeded(instances):
    parts = divide(instances, 4, seed=0)
    names = [one.instance_id for part in parts for one in part]
    assert sorted(names) == sorted(one.instance_id for one in instances)
    assert {len(part) for part in parts} == {3}
    assert divide(instances[::-1], 4, seed=0) == parts
    assert divide(instances, 4, seed=1) != parts
    with pytest.raises(ValueError, match="too few for 8 parts"):
        divide(instances, 8, seed=0)
    with pytest.raises(ValueError, match="even number"):
        divide(instances, 3, seed=0)


def test_stability_of_equal_and_of_opposite_halves(tmp_path):
    """Activations that are the same in all parts, and some that depend on the part."""

    def measure(part):
        grid = pd.MultiIndex.from_product([range(2), range(10)], names=["layer", "neuron"])
        frame = grid.to_frame(index=False)
        place = frame["layer"] * 10 + frame["neuron"]
        # MA: neurons 0 to 3 in every part; AP: another neuron leads in each part
        lead = {name: n for n, name in enumerate("abcd")}[part[0]]
        return frame.assign(
            mean_activation=(place < 4) * 1.0,
            mean_absolute=0.0,
            active_fraction=(place == 5 + lead) * 1.0,
            n_samples=len(part),
        )

    frame = measure_stability(
        [["a"], ["b"], ["c"], ["d"]],
        {"activation_statistics": measure},
        head_ranking(),
        ["ma", "ap"],
        ratio=0.1,  # two of twenty
        draws=5,
        clip="per_sample",
        seed=0,
    )
    artifacts.write(tmp_path / "stability.parquet", frame, RANKER_STABILITY, {})
    ma, ap = (frame[frame["ranker"] == name] for name in ("ma", "ap"))
    assert (ma["between_halves"] == 1).all() and (ma["with_all"] == 1).all()
    assert (ap["between_halves"] == 0).all()  # each half has its own two leaders
    assert (ap["with_all"] == 0.5).all()  # of four ties the first two are in the whole's set
    assert (frame["n_neurons"] == 2).all()


def test_on_a_model(tiny, measures, instances, tmp_path):
    names = ["hones", "no_head", "ma", "dla", "qrnca"]
    arguments = (measures, head_ranking(), names, 0.25, 3, "per_sample")
    frame = measure_stability(divide(instances, 4, 0), *arguments, seed=0)
    assert frame["between_halves"].between(0, 1).all() and len(frame) == 15
    assert frame["with_all"].mean() > 0.5  # a half is part of the whole
    again = measure_stability(divide(instances, 4, 0), *arguments, seed=0)
    pd.testing.assert_frame_equal(frame, again)
    table = stability({("llava", "vqa"): frame}, 0.25)
    artifacts.write(tmp_path / "table.parquet", table, STABILITY, {})
    own = frame[frame["ranker"] == "dla"]
    row = table[table["ranker"] == "dla"].iloc[0]
    assert row["between_halves"] == pytest.approx(own["between_halves"].mean())
    assert row["with_all_sd"] == pytest.approx(own["with_all"].std())
    with pytest.raises(ValueError, match="random does not depend"):
        measure_stability([], measures, head_ranking(), ["random"], 0.25, 1, "per_sample", 0)
