"""Masking tables: figures against slow computations, the paper's in their places."""

import numpy as np
import pandas as pd
import pytest
from tables_support import (
    AGREED,
    ANSWERS,
    BOOTSTRAP,
    COMPARE,
    SCORES,
    TASKS,
    N,
    paper,
    predictions,
    ratio_score,
    row_of,
    score_of,
)

from hones_core.statistics import AlignmentError
from hones_core.tables.masking import masking_drop, masking_score
from hones_core.tables.render import to_markdown

pytest_plugins = ["tables_fixtures"]


@pytest.mark.parametrize("task", ["vqa", "caption"])
def test_masking_drop_equals_its_definition(base, masked, drops, task):
    """(base - masked) / base over exactly the masked instances; random: mean over seeds."""
    test = base["llava", task].query("split == 'test'")
    of_base = score_of(test, task)
    rows = masked["llava", task]

    hones = (of_base - score_of(rows.query("ranker == 'hones'"), task)) / of_base * 100
    found = row_of(drops, model="llava", ranker="hones", task=task)
    assert found["drop"] == pytest.approx(hones)
    assert found["drop_low"] < hones < found["drop_high"]
    assert (found["n_instances"], found["n_neurons"], found["n_seeds"]) == (N, 15, 1)

    seeds = [
        (of_base - score_of(seed_rows, task)) / of_base * 100
        for _, seed_rows in rows.query("ranker == 'random'").groupby("seed")
    ]
    random = row_of(drops, model="llava", ranker="random", task=task)
    assert random["drop"] == pytest.approx(np.mean(seeds))
    assert random["seed_sd"] == pytest.approx(np.std(seeds, ddof=1))
    assert (random["seed_min"], random["seed_max"]) == pytest.approx((min(seeds), max(seeds)))
    assert random["n_seeds"] == 3
    assert np.isnan(random["excess"]) and not random["shown"]

    assert found["excess"] == pytest.approx(hones - np.mean(seeds))
    assert found["shown"] and found["excess_low"] > 0
    assert not row_of(drops, model="llava", ranker="ape", task=task)["shown"]


def test_masking_drop_resamples_as_written_out(base, masked, drops):
    """The interval of HONES' drop and of its excess, by an explicit loop over resamples."""
    test = base["llava", "caption"].query("split == 'test'").sort_values("instance_id")
    of_base = np.stack(test["statistics"])
    rows = masked["llava", "caption"].sort_values("instance_id")
    hones = np.stack(rows.query("ranker == 'hones'")["statistics"])
    seeds = [
        np.stack(rows.query(f"ranker == 'random' and seed == {seed}")["statistics"])
        for seed in range(3)
    ]
    drop, excess = [], []
    for counts in BOOTSTRAP.counts(test["instance_id"]):
        drawn = np.repeat(np.arange(N), counts)
        b = ratio_score(of_base[drawn].sum(axis=0), N)
        h = ratio_score(hones[drawn].sum(axis=0), N)
        r = np.mean([ratio_score(seed[drawn].sum(axis=0), N) for seed in seeds])
        drop.append((b - h) / b * 100)
        excess.append((r - h) / b * 100)
    found = row_of(drops, model="llava", ranker="hones", task="caption")
    for name, values in (("drop", drop), ("excess", excess)):
        low, high = np.quantile(values, [0.025, 0.975])
        assert (found[f"{name}_low"], found[f"{name}_high"]) == pytest.approx((low, high))


def test_average_row_is_the_mean_of_the_tasks(drops):
    for ranker in ("hones", "random"):
        rows = drops.query(f"model == 'llava' and ranker == '{ranker}'").set_index("task")
        assert rows.loc["avg", "drop"] == pytest.approx(rows.loc[list(TASKS), "drop"].mean())
        assert rows.loc["avg", "n_instances"] == 4 * N
    # Averaging over tasks narrows the interval, and the seeds' averages have a spread of their own.
    hones = drops.query("model == 'llava' and ranker == 'hones'").set_index("task")
    width = hones["drop_high"] - hones["drop_low"]
    assert width["avg"] < width[list(TASKS)].max()
    assert row_of(drops, model="llava", ranker="random", task="avg")["seed_sd"] > 0


def test_ranker_of_one_task_has_no_average(drops):
    assert set(drops.query("ranker == 'dla'")["task"]) == {"vqa"}


def test_paper_figures_are_in_their_places(drops):
    figures = paper("masking_relative_drop_percent").query("model == 'llava-1.5-7b'")
    names = {"AP": "ap", "APE": "ape", "HONES": "hones", "RandNeuron": "random"}
    checked = 0
    for row in figures.to_dict("records"):
        if row["strategy"] in names:
            found = row_of(drops, model="llava", ranker=names[row["strategy"]], task=row["task"])
            assert found["paper_drop"] == row["relative_drop_percent"]
            assert found["paper_model"] == "llava-1.5-7b"
            checked += 1
    assert checked == 4 * 5
    assert row_of(drops, model="llava", ranker="dla", task="vqa")["paper_drop"] == 7.4
    without = drops.query("model == 'qwen'")
    assert without["paper_drop"].isna().all() and (without["paper_model"] == "").all()


def test_paper_average_stands_beside_all_four_tasks_only(base, masked):
    two = {place: frame for place, frame in masked.items() if place[1] in ("vqa", "ocr")}
    figures = paper("masking_relative_drop_percent")
    found = masking_drop(base, two, SCORES, figures, COMPARE, BOOTSTRAP)
    assert np.isnan(row_of(found, model="llava", ranker="hones", task="avg")["paper_drop"])
    assert row_of(found, model="llava", ranker="hones", task="ocr")["paper_drop"] == 19.0


def test_paper_names_are_checked(base, masked):
    figures = paper("masking_relative_drop_percent")
    with pytest.raises(ValueError, match="'Telepathy' has no counterpart"):
        renamed = figures.replace({"strategy": {"AP": "Telepathy"}})
        masking_drop(base, masked, SCORES, renamed, COMPARE, BOOTSTRAP)
    with pytest.raises(ValueError, match="two paper figures"):
        doubled = pd.concat([figures, figures.assign(relative_drop_percent=1.0)])
        masking_drop(base, masked, SCORES, doubled, COMPARE, BOOTSTRAP)


def test_masking_score(base, masked):
    figures = paper("masking_absolute_score")
    found = masking_score(base, masked, SCORES, figures, COMPARE, BOOTSTRAP, ANSWERS)
    of_base = row_of(found, model="llava", ranker="base", task="vqa")
    test = base["llava", "vqa"].query("split == 'test'")
    assert of_base["score"] == pytest.approx(score_of(test, "vqa"))
    assert (of_base["n_neurons"], of_base["paper_score"]) == (0, 0.652)
    assert row_of(found, model="llava", ranker="base", task="avg")["paper_score"] == 0.5723
    assert row_of(found, model="llava", ranker="hones", task="retrieval")["paper_score"] == 0.8635


def test_the_second_score_of_vqa_stands_beside_the_first(base, masked):
    """Where all answers agree, the evaluator of March 2021 has "Yes" miss "yes"."""
    found = masking_score(base, masked, SCORES, None, COMPARE, BOOTSTRAP, ANSWERS)
    found_of = found.query("model == 'qwen'").set_index(["ranker", "task"])["score_2021"]
    agreed = {f"vqa/{place}" for place in AGREED}

    def by_hand(rows):
        assert len(rows) == N
        right = (rows["prediction"] == "Yes") & ~rows["instance_id"].isin(agreed)
        return right.mean()

    rows = masked["qwen", "vqa"]
    seeds = [by_hand(own) for _, own in rows.query("ranker == 'random'").groupby("seed")]
    assert found_of["random", "vqa"] == pytest.approx(np.mean(seeds))
    assert found_of["base", "vqa"] == pytest.approx(
        by_hand(base["qwen", "vqa"].query("split == 'test'"))
    )
    assert found_of.drop("vqa", level="task").isna().all()
    text = to_markdown(found, "masking_score")
    assert f"| base | {found_of['base', 'vqa']:.3f} |" in text.split("March-2021")[2]
    without = {place: frame for place, frame in masked.items() if place[1] != "vqa"}
    table = masking_score(base, without, SCORES, None, COMPARE, BOOTSTRAP, {})
    assert table["score_2021"].isna().all()
    assert "March" not in to_markdown(table, "masking_score")


def test_other_instances_are_refused(base, masked):
    place = ("llava", "ocr")
    rows = masked[place]
    lost = rows[~((rows["ranker"] == "hones") & (rows["instance_id"] == "ocr/7"))]
    with pytest.raises(AlignmentError, match=r"llava, ocr, .*'hones'.*'ocr/7'"):
        masking_drop(base, {place: lost}, SCORES, None, {}, BOOTSTRAP)
    shrunk = {place: base[place][base[place]["instance_id"] != "ocr/7"]}
    with pytest.raises(AlignmentError, match="'ocr/7'"):
        masking_drop(shrunk, {place: rows}, SCORES, None, {}, BOOTSTRAP)
    with pytest.raises(KeyError, match="no base predictions for model llava, task ocr"):
        masking_drop({}, {place: rows}, SCORES, None, {}, BOOTSTRAP)


def test_budgets_that_differ_are_refused(base, masked):
    place = ("llava", "vqa")
    rows = masked[place].copy()
    rows.loc[(rows["ranker"] == "random") & (rows["seed"] == 1), "n_neurons"] = 14
    with pytest.raises(ValueError, match=r"n_neurons of random.*\[14, 15\]"):
        masking_drop(base, {place: rows}, SCORES, None, {}, BOOTSTRAP)


def test_fewer_scores_than_masked_neurons_are_told(base, masked):
    """The tie-break chose six of the 15 neurons of HONES on OCR: METHOD 5's count says so."""
    few = masked["qwen", "ocr"].copy()
    few.loc[few["ranker"] == "hones", "n_nonzero"] = 9
    found = masking_drop(base, masked | {("qwen", "ocr"): few}, SCORES, None, {}, BOOTSTRAP)
    counts = found.set_index(["model", "ranker", "task"])["n_nonzero"]
    assert [counts["qwen", "hones", task] for task in (*TASKS, "avg")] == [40, 9, 40, 40, 9]
    assert counts["qwen", "random", "vqa"] == 40  # the fewest of the seeds 0, 1 and 2
    llava, qwen = to_markdown(found, "masking_drop").split("\n## ")[1:]
    assert "| hones (15 neurons, only 9 with a score other than 0) |" in qwen
    assert "| hones (15 neurons) |" in llava and "only" not in llava


def test_base_that_scores_nothing_gives_undefined_drops(masked):
    place = ("llava", "vqa")
    nothing = predictions(np.random.default_rng(2), "vqa", 0.0, split="test")
    found = masking_drop({place: nothing}, {place: masked[place]}, SCORES, None, {}, BOOTSTRAP)
    assert found[["drop", "drop_low", "excess"]].isna().all(axis=None)
    assert not found["shown"].any()
    assert "| hones (15 neurons) | – |" in to_markdown(found, "masking_drop")


def test_tasks_share_resamples_by_image():
    vqa = BOOTSTRAP.counts([f"vqa/{image}" for image in range(N)])
    ocr = BOOTSTRAP.counts([f"ocr/{image}" for image in range(N)])
    other = BOOTSTRAP.counts([f"ocr/{image}" for image in range(1, N + 1)])
    np.testing.assert_array_equal(vqa, ocr)
    assert (other != vqa).any()


def test_tables_do_not_depend_on_the_order_of_rows(base, masked, drops):
    reordered = {place: rows.sample(frac=1, random_state=5) for place, rows in masked.items()}
    figures = pd.concat(
        [paper("masking_relative_drop_percent"), paper("masking_vqa_other_rankers")]
    )
    again = masking_drop(base, reordered, SCORES, figures, COMPARE, BOOTSTRAP)
    pd.testing.assert_frame_equal(again, drops)
