"""Screening of heads: bounds, what survives, what the ranking and the table make of it."""

import numpy as np
import pandas as pd
import pytest
from model_support import make_instances

from hones_core import artifacts
from hones_core.benchmark.seeding import seeded_order
from hones_core.head_ranking import rank_heads
from hones_core.head_utilities import head_drops
from hones_core.heads import measure_head_effects
from hones_core.partial import Parts
from hones_core.schemas.heads import HEAD_EFFECTS, HEAD_RANKING
from hones_core.schemas.tables import HEAD_SCREENING
from hones_core.screening import Elimination, Screening
from hones_core.tables.plain import plain_markdown
from hones_core.tables.screening import head_screening, simulate

pytest_plugins = ["model_fixtures"]

HEADS = [(layer, head) for layer in range(5) for head in range(8)]
TOP = 6


def synthetic(n: int, seed: int) -> np.ndarray:
    """Losses [n, heads]: the first heads lose most; most lose nothing but noise, some nothing."""
    generator = np.random.default_rng(seed)
    means = np.zeros(len(HEADS))
    means[:TOP] = np.linspace(0.5, 0.3, TOP)
    means[TOP : TOP + 4] = 0.15
    chance = generator.random((n, len(HEADS)))
    drops = (chance < means).astype(float) + generator.choice([-0.1, 0, 0.1], chance.shape)
    drops[:, -3:] = 0  # a discrete metric that never changes
    return drops


def effects_of(drops: np.ndarray, measured: np.ndarray | None = None) -> pd.DataFrame:
    """HEAD_EFFECTS with these losses; of head h only the first `measured[h]` samples."""
    frames = []
    for (layer, head), column in zip([(-1, -1), *HEADS], [None, *drops.T], strict=True):
        lost = np.zeros(len(drops)) if column is None else column
        frame = pd.DataFrame({"instance_id": [f"i{sample:04d}" for sample in range(len(drops))]})
        frame = frame.assign(layer=layer, head=head, utility=1 - lost, target_logprob=-1 - lost)
        if measured is not None and layer >= 0:
            frame = frame.iloc[: measured[HEADS.index((layer, head))]]
        frames.append(frame)
    effects = pd.concat(frames, ignore_index=True)
    return effects.assign(first_token_logprob=-1.0, close_call=False)[HEAD_EFFECTS.names]


def test_the_bounds_are_those_of_a_sample_without_replacement():
    """Three heads, four of eight samples, one is looked for, by hand."""
    drops = np.array([[1.0, 0.0, 0.5], [1.0, 0.5, 0.0], [1.0, 0.0, 0.5], [0.5, 0.5, 0.0]])
    mean = drops.mean(0)
    error = drops.std(0, ddof=1) / 2 * np.sqrt(1 - 4 / 8)
    assert mean.tolist() == [0.875, 0.25, 0.25]
    gap = (mean[0] - mean[1]) / (error[0] + error[1])  # the z at which the bounds touch
    for z, left in ((gap * 0.999, [True, False, False]), (gap * 1.001, [True, True, True])):
        elimination = Elimination(Screening(1, z, min_samples=4), 3, 8)
        elimination.add(drops[:2])
        assert elimination.left.all()
        elimination.add(drops[2:])
        assert elimination.left.tolist() == left


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_the_best_survive_and_much_is_saved(chunk):
    for seed in range(10):
        drops = synthetic(400, seed)
        best = np.argsort(-drops.mean(0), kind="stable")[:TOP]
        elimination = Elimination(Screening(TOP, 3.0), len(HEADS), len(drops))
        measured = 0
        for start in range(0, len(drops), chunk):
            before = elimination.left.copy()
            rows = drops[start : start + chunk].copy()
            rows[:, ~before] = np.nan  # not measured
            elimination.add(rows)
            measured += before.sum() * len(rows)
            assert not (elimination.left & ~before).any()  # nobody comes back
            assert elimination.left.sum() >= TOP
        assert elimination.left[best].all()
        assert measured < 0.5 * drops.size


def test_few_samples_and_wide_bounds_leave_nobody_out():
    drops = synthetic(400, 0)
    patient = Elimination(Screening(TOP, 0.1, min_samples=400), len(HEADS), len(drops))
    careful = Elimination(Screening(TOP, 1e9), len(HEADS), len(drops))
    for start in range(0, len(drops), 50):
        patient.add(drops[start : start + 50])
        careful.add(drops[start : start + 50])
    assert patient.left.all()
    assert careful.left.all()
    assert (simulate(drops, Screening(TOP, 1e9), 0) == len(drops)).all()


def test_equal_heads_stay_together():
    elimination = Elimination(Screening(2, 3.0, min_samples=1), 4, 100)
    elimination.add(np.zeros((50, 4)))
    assert elimination.left.all()


@pytest.mark.parametrize("top_heads", [0, len(HEADS) + 1])
def test_as_many_heads_as_there_are(top_heads):
    with pytest.raises(ValueError, match="the model has 40 heads"):
        Elimination(Screening(top_heads), len(HEADS), 10)
    with pytest.raises(ValueError, match="unknown screening rule 'halving'"):
        Screening(TOP, rule="halving")


def screened_effects() -> tuple[pd.DataFrame, np.ndarray]:
    drops = synthetic(200, 3)
    drops[:60, 20] = 1.0  # looks best, but only as far as it was measured
    measured = np.full(len(HEADS), len(drops))
    measured[20:] = 60
    return effects_of(drops, measured), drops


def test_screened_heads_come_after_all_others(tmp_path):
    effects, drops = screened_effects()
    ranking = rank_heads(effects, "task_metric", TOP, screening=True)
    artifacts.write(tmp_path / "ranking.parquet", ranking, HEAD_RANKING, {})
    places = list(zip(ranking["layer"], ranking["head"], strict=True))
    assert set(places[:20]) == set(HEADS[:20])
    assert ranking["screened"].tolist() == [False] * 20 + [True] * 20
    assert ranking["n_samples"].tolist() == [200] * 20 + [60] * 20
    assert places[20] == HEADS[20]
    assert ranking["score"].iloc[20] == 1.0
    assert not ranking["selected"].iloc[TOP:].any()
    full = rank_heads(effects_of(drops), "task_metric", TOP)
    assert not full["screened"].any()
    kept = full[[place in HEADS[:20] for place in zip(full["layer"], full["head"], strict=True)]]
    columns = ["layer", "head", "score", "logprob_drop"]
    pd.testing.assert_frame_equal(
        ranking.iloc[:20][columns].reset_index(drop=True), kept[columns].reset_index(drop=True)
    )


def test_a_screened_head_is_never_selected():
    effects, _ = screened_effects()
    assert rank_heads(effects, "task_metric", 20, screening=True)["selected"].sum() == 20
    with pytest.raises(ValueError, match="screening left only 20 heads"):
        rank_heads(effects, "task_metric", 21, screening=True)


def test_missing_rows_are_refused_without_screening_and_strange_ones_with_it():
    effects, _ = screened_effects()
    with pytest.raises(ValueError, match=r"head 2\.4 was not measured on the same instances"):
        rank_heads(effects, "task_metric", TOP)
    strange = effects.copy()
    strange.loc[strange.index[-1], "instance_id"] = "another"
    with pytest.raises(ValueError, match=r"head 4\.7 was not measured"):
        rank_heads(strange, "task_metric", TOP, screening=True)


SCREENING = Screening(top_heads=2, z=0.5, utility="target_logprob", min_samples=4)


@pytest.fixture(scope="module")
def measured(tiny):
    """Full and screened effects of a tiny model, in chunks of two samples."""
    instances = make_instances("ocr", 12)
    evaluator = tiny.evaluator("ocr", 2)
    full = measure_head_effects(evaluator, instances)
    return full, measure_head_effects(evaluator, instances, screening=SCREENING)


def written(folder, name: str, effects: pd.DataFrame) -> bytes:
    artifacts.write(folder / name, effects, HEAD_EFFECTS, {})
    return (folder / name).read_bytes()


def test_wide_bounds_change_no_byte(tiny, tmp_path, measured):
    careful = Screening(top_heads=2, z=1e9, min_samples=1)
    instances = make_instances("ocr", 12)
    same = measure_head_effects(tiny.evaluator("ocr", 2), instances, screening=careful)
    assert written(tmp_path, "same", same) == written(tmp_path, "full", measured[0])
    rankings = [rank_heads(found, "target_logprob", 2, True) for found in (same, measured[0])]
    pd.testing.assert_frame_equal(*rankings, check_exact=True)


def test_survivors_are_measured_on_all_samples_with_the_same_results(measured):
    full, screened = measured
    key = ["layer", "head", "instance_id"]
    assert 0.3 * len(full) < len(screened) < 0.95 * len(full)
    both = screened.merge(full, on=key, suffixes=("", "_full"), how="left")
    for column in ("utility", "target_logprob", "first_token_logprob"):
        # Heads share decoding and padding with others: equal but for rounding.
        np.testing.assert_allclose(both[column], both[f"{column}_full"], atol=1e-5)
    ranking = rank_heads(screened, "target_logprob", 2, screening=True)
    assert 0 < ranking["screened"].sum() <= 6
    expected = rank_heads(full, "target_logprob", 2)
    for column in ("layer", "head"):
        assert ranking[column].head(2).tolist() == expected[column].head(2).tolist()


def test_the_rows_are_those_that_elimination_left(tiny, measured):
    """The rule replayed on the full effects, chunk by chunk in the seeded order."""
    full, screened = measured
    chunks = tiny.evaluator("ocr", 2).chunks(make_instances("ocr", 12))
    ids = {chunk[0].instance_id: [one.instance_id for one in chunk] for chunk in chunks}
    drops = head_drops(full, SCREENING.utility)
    elimination = Elimination(SCREENING, drops.shape[1], len(drops))
    expected = set()
    for first in seeded_order(ids, 0, "screening"):
        heads = drops.columns[elimination.left]
        expected |= {(*head, one) for head in [(-1, -1), *heads] for one in ids[first]}
        elimination.add(drops.loc[ids[first]].to_numpy())
    assert not elimination.left.all()
    rows = screened[["layer", "head", "instance_id"]].itertuples(index=False, name=None)
    assert set(rows) == expected


def test_a_stopped_screening_resumes_to_the_same_bytes(tiny, tmp_path, measured):
    instances = make_instances("ocr", 12)
    evaluator = tiny.evaluator("ocr", 2)
    prepare, prepared = evaluator.prepare, []

    def stop_at_the_fifth(*arguments):
        if len(prepared) == 4:
            raise KeyboardInterrupt
        prepared.append(arguments)
        return prepare(*arguments)

    evaluator.prepare = stop_at_the_fifth
    parts = Parts(tmp_path / "parts", "key")
    with pytest.raises(KeyboardInterrupt):
        measure_head_effects(evaluator, instances, parts=parts, screening=SCREENING)
    prepared.clear()
    found = measure_head_effects(evaluator, instances, parts=parts, screening=SCREENING)
    assert len(prepared) == 2
    assert written(tmp_path, "a", found) == written(tmp_path, "b", measured[1])


def test_progress_says_how_many_heads_are_left(tiny, capsys):
    instances = make_instances("ocr", 12)
    measure_head_effects(tiny.evaluator("ocr", 2), instances, screening=SCREENING)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("ocr head effects, ") and "ocr head effects, 8 heads" not in last


def test_the_table(tmp_path):
    drops = synthetic(400, 1)
    measured = simulate(drops, Screening(TOP), 0)
    assert measured[:TOP].tolist() == [400] * TOP
    # The artifact of a screened run holds the first samples of each head.
    effects = {
        ("m", "vqa"): effects_of(drops),
        ("m", "ocr"): effects_of(drops, measured),
    }
    table = head_screening(effects, {"m": TOP}, Screening(1, 2.5), [1, 3, 1e9], n_orders=20)
    artifacts.write(tmp_path / "table.parquet", table, HEAD_SCREENING, {})
    assert "| m | vqa | simulated | 1 |" in plain_markdown(table, HEAD_SCREENING)
    simulated = table[table["kind"] == "simulated"].set_index("z")
    assert simulated.index.tolist() == [1, 3, 1e9]
    assert simulated["saved"].is_monotonic_decreasing and simulated.loc[1e9, "saved"] == 0
    assert simulated.loc[3, "saved"] > 50
    assert simulated.loc[[3, 1e9], ["recall_top_min", "recall_mass"]].eq(100).all(axis=None)
    assert simulated.loc[1, "recall_top"] <= 100
    (real,) = table[table["kind"] == "real"].to_dict("records")
    assert real["saved"] == pytest.approx(100 * (1 - measured.sum() / drops.size))
    assert (real["task"], real["z"], real["n_samples"]) == ("ocr", 2.5, 400)
    assert np.isnan(real["recall_top"])


def test_the_table_misses_what_too_narrow_bounds_miss():
    """A head that loses much on few samples is left out when bounds are narrow."""
    generator = np.random.default_rng(0)
    drops = np.full((400, len(HEADS)), 0.0)
    drops[:, 1:TOP] = 0.3 + 0.01 * generator.standard_normal((400, TOP - 1))
    drops[:, TOP] = 0.04 + 0.001 * generator.standard_normal(400)
    drops[:20, 0] = 1.0  # 0.05 on average, and it belongs to the top
    table = head_screening({("m", "vqa"): effects_of(drops)}, {"m": TOP}, Screening(1), [0.01], 40)
    found = table.iloc[0]
    assert 100 * (TOP - 1) / TOP <= found["recall_top"] < 100
    assert found["recall_top_min"] == pytest.approx(100 * (TOP - 1) / TOP)
    assert 99 < found["recall_mass"] < 100
