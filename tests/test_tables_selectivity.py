"""The selectivity matrix, erased texts and other data, against their definitions."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tables_support import (
    BOOTSTRAP,
    COMPARE,
    SCORES,
    TASKS,
    N,
    paper,
    predictions,
    row_of,
    score_of,
)

from hones_core.neuron_sets import overlap_groups, selectivity_sets, source_sets
from hones_core.tables.instance_parts import instance_parts, thirds
from hones_core.tables.selectivity import selectivity, selectivity_by_kind
from hones_core.tables.shifted_groups import ood_group_drop, text_erasure

SHAPE = (4, 30)
neuron = st.tuples(st.integers(0, 3), st.integers(0, 11))


def drop(base, masked, task):
    return (score_of(base, task) - score_of(masked, task)) / score_of(base, task) * 100


@pytest.fixture(scope="module")
def world():
    """One model whose VQA and caption sets share two neurons, and predictions under each set."""
    tops = {
        "vqa": frozenset([(0, 0), (0, 1), (1, 2)]),
        "ocr": frozenset([(2, 3)]),
        "caption": frozenset([(0, 0), (0, 1)]),
        "retrieval": frozenset([(3, 3), (3, 4)]),
    }
    groups = overlap_groups(tops)
    dominant = pd.DataFrame(
        {"task": TASKS, "group": ["vqa+caption", "", "vqa+caption", ""], "n_neurons": [2, 0, 2, 0]}
    )
    sets = source_sets(groups, dominant, TASKS)
    generator = np.random.default_rng(3)
    base, masked = {}, {}
    for task in TASKS:
        base["toy", task] = predictions(generator, task, 0.9, split="test")
        frames = []
        for (source, kind, trial), neurons in selectivity_sets(
            sets, SHAPE, 2, "uniform", 0
        ).items():
            quality = 0.3 if trial < 0 and source == task else 0.85
            columns = {"source_task": source, "kind": kind, "trial": trial}
            frames.append(predictions(generator, task, quality, n_neurons=len(neurons), **columns))
        masked["toy", task] = pd.concat(frames)
    return {"base": base, "masked": masked, "sets": {"toy": sets}, "dominant": {"toy": dominant}}


def tables(world):
    return selectivity(
        world["base"], world["masked"], world["sets"], world["dominant"], SCORES, BOOTSTRAP
    )


def test_every_source_and_kind_has_a_cell_for_every_task_and_empty_ones_say_so(world):
    matrix, index = tables(world)
    assert len(matrix) == 4 * 3 * 4 and len(index) == 4 * 3
    empty = matrix[matrix["n_neurons"] == 0]
    assert set(zip(empty["source_task"], empty["kind"], strict=True)) == {
        ("ocr", "dominant"),
        ("retrieval", "dominant"),
        ("caption", "specific"),
    }
    assert empty["drop"].isna().all() and not empty["shown"].any()
    assert matrix.query("kind == 'dominant' and n_neurons > 0")["group"].unique() == ["vqa+caption"]


def test_cells_and_index_equal_their_definitions(world):
    matrix, index = tables(world)
    drops = {}
    for task in TASKS:
        rows = world["masked"]["toy", task].query("source_task == 'vqa' and kind == 'top'")
        drops[task] = drop(world["base"]["toy", task], rows.query("trial == -1"), task)
        cell = row_of(matrix, source_task="vqa", kind="top", task=task)
        controls = [
            drop(world["base"]["toy", task], rows.query(f"trial == {k}"), task) for k in (0, 1)
        ]
        assert cell["drop"] == pytest.approx(drops[task])
        assert cell["random_mean"] == pytest.approx(np.mean(controls))
        assert cell["n_instances"] == N
    others = [drops[task] for task in TASKS if task != "vqa"]
    found = row_of(index, source_task="vqa", kind="top")
    assert found["index"] == pytest.approx(drops["vqa"] - np.mean(others))
    assert found["index_low"] > 0


def test_a_run_of_one_task_has_no_index(world):
    one = {
        "base": {("toy", "vqa"): world["base"]["toy", "vqa"]},
        "masked": {("toy", "vqa"): world["masked"]["toy", "vqa"].query("source_task == 'vqa'")},
        "sets": {"toy": {key: s for key, s in world["sets"]["toy"].items() if key[0] == "vqa"}},
        "dominant": world["dominant"],
    }
    matrix, index = tables(one)
    assert set(matrix["task"]) == {"vqa"} and index["index"].isna().all()
    assert index["own_drop"].notna().all()


def test_a_set_that_was_masked_with_another_size_is_refused(world):
    wrong = world["masked"]["toy", "ocr"].assign(n_neurons=1)
    masked = {**world["masked"], ("toy", "ocr"): wrong}
    with pytest.raises(ValueError, match="the top set of vqa has 3 neurons, but 1 were masked"):
        tables({**world, "masked": masked})


def test_parts_of_the_instances_are_scored_by_themselves(world):
    ids = [f"caption/{number}" for number in range(N)]
    parts = {
        task: pd.DataFrame({"instance_id": ids, "aspect": "x", "part": ["a"] * 20 + ["b"] * 40})
        for task in ("caption",)
    }
    base = {("toy", "caption"): world["base"]["toy", "caption"]}
    masked = {("toy", "caption"): world["masked"]["toy", "caption"]}
    table = selectivity_by_kind(base, masked, parts, SCORES, BOOTSTRAP)
    chosen = masked["toy", "caption"].query("source_task == 'caption' and kind == 'top'")
    chosen = chosen[(chosen["trial"] == -1) & chosen["instance_id"].isin(ids[:20])]
    unmasked = base["toy", "caption"][base["toy", "caption"]["instance_id"].isin(ids[:20])]
    found = row_of(table, source_task="caption", kind="top", part="a")
    assert found["drop"] == pytest.approx(drop(unmasked, chosen, "caption"))
    assert (found["n_instances"], found["n_neurons"]) == (20, 2)


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.frozensets(neuron, max_size=12)] * 4),
    st.sampled_from(["uniform", "layer_matched"]),
)
def test_random_sets_lie_outside_all_sets_and_are_seeded(found, control):
    groups = overlap_groups(dict(zip(TASKS, found, strict=True)))
    dominant = pd.DataFrame({"task": TASKS, "group": ["", "ocr+caption", "", ""]})
    sources = source_sets(groups, dominant, TASKS)
    for task, top in zip(TASKS, found, strict=True):
        assert sources[task, "top"] == top
        assert sources[task, "specific"] == top - frozenset().union(
            *(other for name, other in zip(TASKS, found, strict=True) if name != task)
        )
    sets = selectivity_sets(sources, SHAPE, 2, control, 5)
    assert sets == selectivity_sets(sources, SHAPE, 2, control, 5)
    important = frozenset().union(*found)
    for (task, kind, trial), neurons in sets.items():
        assert len(neurons) == len(sources[task, kind]) > 0
        if trial >= 0:
            assert not neurons & important
        if trial >= 0 and control == "layer_matched":
            layers = [sorted(layer for layer, _ in one) for one in (neurons, sources[task, kind])]
            assert layers[0] == layers[1]


def test_thirds_keep_equal_values_together():
    parts = thirds(pd.Series([1, 1, 1, 1, 2, 3]))
    assert parts[:4].nunique() == 1 and parts[3] != parts[5]
    parts = thirds(pd.Series(range(9)))
    assert parts.value_counts().tolist() == [3, 3, 3]


def test_parts_of_every_task_cover_its_instances():
    records = pd.DataFrame(
        {
            "image_id": range(6),
            "question_type": ["what"] * 6,
            "answer_type": ["number", "other"] * 3,
            "transcription": ["a", "bb", "ccc", "dddd", "e", "f"],
            "box_h": np.arange(6.0),
            "captions": [["one two", "one"]] * 3 + [["one two three four"]] * 3,
        }
    )
    pools = pd.DataFrame(
        {
            "image_id": [0, 0, 0, 1, 1],
            "is_positive": [True, False, False, True, False],
            "cosine": [1.0, 0.2, 0.7, 1.0, 0.4],
        }
    )
    for task in TASKS:
        parts = instance_parts(task, records, pools)
        n_images = 2 if task == "retrieval" else 6
        for _, rows in parts.groupby("aspect"):
            assert sorted(rows["instance_id"]) == [f"{task}/{i}" for i in range(n_images)]
    with pytest.raises(ValueError, match="need the retrieval pools"):
        instance_parts("retrieval", records, None)


@pytest.fixture(scope="module")
def caption_world():
    tops = {task: frozenset() for task in TASKS}
    tops |= {"vqa": frozenset([(0, 0), (0, 1)]), "caption": frozenset([(0, 0), (1, 1)])}
    groups = overlap_groups(tops)
    generator = np.random.default_rng(5)

    def masked(split=None):
        frames = [
            predictions(generator, "caption", quality, group=group, trial=trial, n_neurons=1)
            for group in ("caption", "vqa+caption")
            for trial, quality in ((-1, 0.4), (0, 0.9))
        ]
        return pd.concat(frames).assign(**({"split": split} if split else {}))

    unchanged = predictions(generator, "caption", 0.8, group="", trial=-1, n_neurons=0)
    return {
        "base": {"llava": predictions(generator, "caption", 0.9, split="test")},
        "original": {"llava": masked("test")},
        "erased": {"llava": pd.concat([unchanged, masked()])},
        "overlap_groups": {"llava": groups},
    }


def test_erased_texts_are_compared_with_the_unchanged_model_on_erased_texts(caption_world):
    table = text_erasure(
        **caption_world,
        tasks=TASKS,
        score=SCORES["caption"],
        paper=paper("caption_text_erasure"),
        compare_with=COMPARE,
        bootstrap=BOOTSTRAP,
    )
    assert len(table) == 2 * 8
    erased = caption_world["erased"]["llava"]
    base, rows = erased.query("group == ''"), erased.query("group == 'vqa+caption' and trial == -1")
    found = row_of(table, setting="text_erased", group="vqa+caption")
    assert found["drop"] == pytest.approx(drop(base, rows, "caption"))
    assert found["base_score"] == pytest.approx(score_of(base, "caption"))
    assert found["paper_drop"] == 11.0
    assert row_of(table, setting="original", group="vqa+caption")["paper_drop"] == 5.0
    assert row_of(table, setting="original", group="ocr+caption")["n_neurons"] == 0


def test_groups_on_other_data_stand_beside_the_paper_s_where_it_names_them(caption_world):
    frame = caption_world["erased"]["llava"]
    table = ood_group_drop(
        {("llava", "flickr30k_caption"): frame},
        caption_world["overlap_groups"],
        TASKS,
        {"flickr30k_caption": SCORES["caption"]},
        paper("ood_group_drop_percent"),
        BOOTSTRAP,
    )
    assert len(table) == 8 and set(table["in_domain_task"]) == {"caption"}
    known = table[table["paper_drop"].notna()].set_index("group")["paper_drop"].to_dict()
    assert known == {"caption": 11.0, "vqa+ocr+caption": 24.8, "vqa+ocr+caption+retrieval": 3.0}
    rows = frame.query("group == 'caption' and trial == -1")
    expected = drop(frame.query("group == ''"), rows, "caption")
    assert row_of(table, group="caption")["drop"] == pytest.approx(expected)
    assert row_of(table, group="caption")["group_kind"] == "specific"
    with pytest.raises(ValueError, match=r"group caption of llava, flickr30k_caption: has 1 neur"):
        ood_group_drop(
            {("llava", "flickr30k_caption"): frame[frame["group"] != "caption"]},
            caption_world["overlap_groups"],
            TASKS,
            {"flickr30k_caption": SCORES["caption"]},
            None,
            BOOTSTRAP,
        )
