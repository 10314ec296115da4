"""The cost of localization: counted against the number of passes, and its table."""

import numpy as np
import pandas as pd
import pytest
from model_support import make_instances
from tables_support import paper

from hones_core import artifacts
from hones_core.attribution.token_level.corruption import Corruption
from hones_core.efficiency import (
    clock,
    counted_token_layers,
    draw,
    localizers,
    measure_efficiency,
    plain_passes,
    prompt_tokens,
)
from hones_core.engine.evaluate import Evaluator
from hones_core.schemas.rankers import TOKEN_LAYERS
from hones_core.schemas.tables import EFFICIENCY
from hones_core.tables.efficiency import efficiency, write_efficiency

pytest_plugins = ["model_fixtures"]

HEADS = [(0, 1), (1, 2), (1, 0)]
METHODS = ["head_localization", "hones", "qrnca", "group_patching"]


def methods_of(evaluator, instances):
    return localizers(
        evaluator, instances, HEADS, "all", "per_sample", "all", 4, 3, Corruption("image_swap")
    )


@pytest.fixture(scope="module")
def measured(tiny):
    evaluator, instances = tiny.evaluator("vqa", 1), make_instances("vqa", 6)
    passes = plain_passes(tiny.adapter, 3, 4, 3)
    methods = methods_of(evaluator, instances)
    return measure_efficiency(evaluator, instances, methods, passes, 2, 3, 0)


def test_token_layers_are_tokens_times_layers(tiny):
    evaluator = Evaluator(tiny.adapter, "vqa", tiny.images, 2, 6, engine="plain")
    item = make_instances("vqa")[0]
    length = tiny.inputs(item.image, evaluator.text(item))["input_ids"].shape[1]
    assert prompt_tokens(evaluator, [item]) == length
    methods = methods_of(evaluator, make_instances("vqa"))
    found = {}
    for name in ("hones", "qrnca", "group_patching"):
        with counted_token_layers(tiny.adapter) as count:
            methods[name](make_instances("vqa")[:2])
        found[name] = count[0]
    both = prompt_tokens(evaluator, make_instances("vqa")[:2])
    # Base and three heads; or the prompt, and its last token in every layer for each of 4 points;
    # or the corrupted prompt, the clean one but its last token, and that for each of 1 + 3 groups.
    assert found["hones"] == 2 * 4 * both
    assert found["qrnca"] == 2 * both + 2 * 2 * 2 * 4
    assert found["group_patching"] == 2 * (2 * both - 2) + 2 * 2 * 2 * (1 + 3)
    assert not any(layer.mlp._forward_pre_hooks for layer in tiny.adapter.layers)


def test_the_fast_engine_runs_fewer_token_layers(tiny):
    """Layer 0 at all tokens and layer 1, the top, at the last: for the base and a head below."""
    evaluator, instances = tiny.evaluator("vqa", 1), make_instances("vqa")[:2]
    with counted_token_layers(tiny.adapter) as count:
        methods_of(evaluator, make_instances("vqa"))["hones"](instances)
    below = sum(layer == 0 for layer, _ in HEADS)
    both = prompt_tokens(evaluator, instances)
    assert count[0] == (1 + below) * (both + 2) + (len(HEADS) - below) * 2


def test_plain_passes(tiny):
    assert plain_passes(tiny.adapter, 3, 20, 10) == {
        "head_localization": 1 + 2 * 4,
        "hones": 1 + 3,
        "qrnca": 1 + 2 * 20,
        "group_patching": 2 + 2 * 10,
    }


def test_every_method_runs_on_the_same_examples(tiny, measured, tmp_path):
    work, seconds = measured
    artifacts.write(tmp_path / "work.parquet", work, TOKEN_LAYERS, {})
    assert work[["method", "trial", "n_instances"]].equals(
        seconds[["method", "trial", "n_instances"]]
    )
    assert list(work["method"]) == METHODS * 2
    assert (seconds["seconds"] > 0).all() and set(seconds["device"]) == {"CPU"}
    passes = plain_passes(tiny.adapter, 3, 4, 3)
    for trial, rows in work.groupby("trial"):
        chosen = draw(make_instances("vqa", 6), 3, 0, trial)
        tokens = prompt_tokens(tiny.evaluator("vqa", 1), chosen)
        expected = [passes[name] * 2 * tokens for name in rows["method"]]
        assert rows["plain_token_layers"].tolist() == expected
    again, _ = measure_efficiency(
        tiny.evaluator("vqa", 1),
        make_instances("vqa", 6),
        methods_of(tiny.evaluator("vqa", 1), make_instances("vqa", 6)),
        passes,
        2,
        3,
        0,
    )
    pd.testing.assert_frame_equal(again, work)


def test_trials_differ_and_need_enough_examples(tiny, measured):
    instances = make_instances("vqa", 6)
    drawn = {tuple(i.instance_id for i in draw(instances, 3, 0, trial)) for trial in range(10)}
    assert len(drawn) > 5
    assert all(len(set(ids)) == 3 for ids in drawn)
    with pytest.raises(ValueError, match="needs 7 examples, but there are 6"):
        measure_efficiency(tiny.evaluator("vqa"), instances, {}, {}, 1, 7, 0)


def test_the_clock_of_a_cpu_is_the_processs_own_time(tiny):
    start = clock(tiny.adapter)
    assert sum(range(10**6)) and clock(tiny.adapter) > start


def test_table(measured, tmp_path):
    work, seconds = measured
    table = efficiency(
        {"mine": work, "other": work},
        {"mine": seconds, "other": seconds},
        paper("localization_seconds_per_instance"),
        {"mine": "llava-1.5-7b", "other": None},
    )
    assert list(table.columns) == EFFICIENCY.names
    rows = table.query("model == 'mine'").set_index("method")
    assert list(rows.index) == ["hones", "hones_with_heads", "qrnca", "group_patching"]
    assert rows["paper_seconds"].tolist()[0::2] == [8.3, 46.5]
    assert np.isnan(rows.loc["hones_with_heads", "paper_seconds"])
    assert rows.loc["group_patching", "paper_device"] == "V100"
    assert table.query("model == 'other'")["paper_seconds"].isna().all()
    for method in ("hones", "qrnca"):
        of_trials = seconds.query(f"method == '{method}'")["seconds"] / 3
        assert rows.loc[method, "seconds"] == pytest.approx(of_trials.mean(), abs=1e-4)
        assert rows.loc[method, "seconds_sd"] == pytest.approx(of_trials.std(), abs=1e-4)
    both = work[work["method"].isin(["hones", "head_localization"])].groupby("trial")
    assert rows.loc["hones_with_heads", "token_layers"] == pytest.approx(
        (both["token_layers"].sum() / 3).mean(), abs=1e-3
    )
    write_efficiency(table, tmp_path / "table.csv", tmp_path / "table.md")
    assert len(pd.read_csv(tmp_path / "table.csv")) == 8
    assert "| mine | hones_with_heads | 2 |" in (tmp_path / "table.md").read_text()
