"""What a configuration will cost: work, memory and hours of every stage, and the command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hones_core.engine import plan, projection, workload
from hones_core.engine.shapes import KNOWN_CONFIGS, shape_from_config
from hones_core.settings import SettingsError

ROOT = Path(__file__).parent.parent
LLAVA, QWEN = "llava-hf/llava-1.5-7b-hf", "Qwen/Qwen2.5-VL-7B-Instruct"


def test_work_of_the_engine_lies_between_the_least_and_the_plain_path():
    shape = shape_from_config(KNOWN_CONFIGS[LLAVA], "float16")
    heads = workload.Interventions(1024, anywhere=True)
    lengths = workload.typical("llava", "vqa", 576, 50)
    assert lengths.prompt == 605
    fast_cost = workload.fast_answers(shape, lengths, heads, 0.1, True, 32)
    least = workload.least_answers(shape, lengths, heads, 0.1, True)
    released = workload.plain_answers(shape, lengths, 1024, False, 1)
    assert 0.95 * fast_cost.token_layers < least < fast_cost.token_layers
    assert released.token_layers / least == pytest.approx(2.1, abs=0.1)
    query = workload.typical("llava", "retrieval", 576, 50)
    plain_cost = workload.plain_candidates(shape, query, 1024)
    ratio = plain_cost.token_layers / workload.fast_candidates(shape, query, heads).token_layers
    assert ratio == pytest.approx(27, abs=2)
    all_layers = workload.replayed(shape, 100, 1, anywhere=False)
    assert workload.replayed(shape, 100, 1, anywhere=True) < 0.52 * all_layers


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.chdir(ROOT)
    return plan.read_settings("config.yaml", ["configs/paper.yaml"])


def with_neurons(settings, **values):
    return settings.model_copy(update={"neurons": settings.neurons.model_copy(update=values)})


def test_the_plan_of_the_paper(paper):
    rows = projection.rows(paper, 32.0, plan.speeds("v100", None), shards=4)
    assert {row.stage for row in rows} == {
        "base",
        "head effects",
        "neuron effects",
        "random heads",
        "gaussian heads",
        "activations",
        "masking",
        "group masking",
        "selectivity",
        "logit lens",
        "erased texts",
        "steering",
        "steering choices",
        "steered",
    }
    heads = [row for row in rows if row.stage == "head effects" and row.model == "llava-1.5-7b"]
    assert [row.samples for row in heads] == [7000, 7000, 7000, 2000]
    assert 4000 < sum(row.released_hours for row in heads) < 6500
    assert 250 < sum(row.fast_hours for row in heads) < 600
    for row in rows:
        assert row.least_token_layers <= row.fast_token_layers
        assert row.shard_hours == row.fast_hours / 4
        assert row.fits == (row.peak_gb < 32) or row.stage == "steering"
        assert row.fits or row.stage == "steering"


def test_what_no_ranker_reads_is_not_planned(paper):
    few = with_neurons(paper, rankers=("hones", "ma", "random"))
    rows = projection.rows(few, 32.0, plan.speeds("v100", None), 1)
    stages = {row.stage for row in rows}
    assert {"neuron effects", "activations", "logit lens"} <= stages
    assert not stages & {"random heads", "gaussian heads"}


def test_masking_is_planned_for_the_task_s_own_rankers_and_their_seeds(paper):
    rankers = ("hones", "random", "rand_head", "dla")
    settings = with_neurons(paper, rankers=rankers, random_seeds=3, random_head_seeds=2)
    orders = {task: projection.orders(settings, paper.models[0], task) for task in paper.tasks}
    assert orders == {"vqa": 7, "ocr": 6, "caption": 6, "retrieval": 6}, "DLA is for VQA"


def test_measured_speed_and_memory_change_the_plan(paper):
    slow, quick = (
        projection.rows(paper, 80.0, plan.speeds("v100", rate), 1) for rate in (1e5, 2e5)
    )
    for one, other in zip(slow, quick, strict=True):
        if one.task == "retrieval":
            assert one.fast_hours == pytest.approx(2 * other.fast_hours)
    small = projection.rows(paper, 16.0, plan.speeds("v100", None), 1)
    assert not any(row.fits for row in small)
    assert all(row.samples_at_once == 1 for row in small if row.stage == "masking")


def test_joint_tasks_are_planned_for_all_questions_in_one_row(paper):
    def peaks(path: str) -> dict:
        given = {"path": path, "interventions_at_once": 1, "decode_rows": 4}
        models = [model.model_copy(update={"batch_size": 1}) for model in paper.models]
        engine = paper.engine.model_copy(update=given)
        settings = paper.model_copy(update={"engine": engine, "models": models})
        rows = projection.rows(settings, 32.0, plan.speeds("v100", None), 1)
        return {(row.model, row.task): row.peak_gb for row in rows if row.stage == "head effects"}

    together, apart = peaks("fast"), peaks("plain")
    for model in (model.name for model in paper.models):
        assert together[model, "vqa"] == together[model, "caption"] > apart[model, "caption"] + 0.1
        assert together[model, "ocr"] == apart[model, "ocr"]


def test_the_command(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(ROOT)
    assert plan.main(["--config", "configs/paper.yaml"]) == 0
    said = capsys.readouterr().out
    assert "50% of 125" in said and "released algorithm" in said and "qwen2.5-vl-7b" in said
    assert plan.main(["--json"]) == 0  # the toy, by its own config.json
    found = json.loads(capsys.readouterr().out)
    assert {row["model"] for row in found["rows"]} == {"llava", "qwen2_5_vl"}
    tokens = {(row["model"], row["tokens"]) for row in found["rows"] if row["task"] == "vqa"}
    assert all(count < 120 for _, count in tokens), "64 image tokens, whatever the photograph"
    assert all(row["fits"] for row in found["rows"])
    overlay = tmp_path / "mine.yaml"
    overlay.write_text((ROOT / "configs/paper.yaml").read_text().replace(QWEN, "someone/else"))
    assert plan.main(["--config", str(overlay)]) == 1
    assert "someone/else" in capsys.readouterr().err


def test_a_plan_loads_no_torch():
    code = (
        "import sys; from hones_core.engine import plan;"
        "plan.main(['--config', 'configs/paper.yaml']); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_an_overlay_is_laid_over_as_snakemake_does(monkeypatch):
    import yaml
    from snakemake.utils import update_config

    monkeypatch.chdir(ROOT)
    expected, found = ({} for _ in range(2))
    for file in ("config.yaml", "configs/paper.yaml"):
        values = yaml.safe_load(Path(file).read_text())
        update_config(expected, values)
        plan._lay_over(found, yaml.safe_load(Path(file).read_text()))
    assert found == expected


def test_a_checkpoint_that_is_not_known():
    with pytest.raises(SettingsError, match="give a folder with"):
        projection.checkpoint_config("someone/else")
