"""What stops a model step before it works, and the progress that it prints."""

import json
from itertools import pairwise
from types import SimpleNamespace

import pandas as pd
import pytest
from model_support import make_instances, outcomes_of

from hones_core import artifacts
from hones_core.benchmark.errors import ImageError
from hones_core.benchmark.instance_objects import to_instances
from hones_core.progress import progress
from hones_core.schemas.benchmark import INSTANCES
from workflow_scripts.model_step import made_by, open_evaluator, own_share, read_instances
from workflow_scripts.task_jobs import Named

pytest_plugins = ["model_fixtures"]


@pytest.fixture
def rule(tiny, tmp_path):
    """What Snakemake gives the script of a step that runs a model on six instances."""
    instances = make_instances("vqa", 6)
    rows = [
        vars(item) | {"split": ("discovery", "test")[i % 2]} for i, item in enumerate(instances)
    ]
    artifacts.write(tmp_path / "instances.parquet", pd.DataFrame(rows), INSTANCES, {})
    model = {"path": str(tiny.folder), "family": "llava", "dtype": "float32", "device": "cpu"}
    return SimpleNamespace(
        input=SimpleNamespace(instances=tmp_path / "instances.parquet"),
        rule="predict_base",
        wildcards=Named(task="vqa"),
        threads=1,
        params=Named(
            cfg={
                "image_folder": str(tiny.images),
                "model": model | {"revision": None, "batch_size": 2},
                "decoding": {"max_new_tokens": 5},
            },
            code={},
            env={},
            shards=1,
        ),
    )


def ids(instances) -> list[str]:
    return [item.instance_id for item in instances]


def test_instances_of_the_splits(rule):
    assert ids(read_instances(rule, ("discovery",))) == ["vqa/0", "vqa/2", "vqa/4"]
    assert len(read_instances(rule, ("discovery", "test"))) == 6
    frame = artifacts.read(rule.input.instances, INSTANCES)
    expected = [item for item in to_instances(frame) if item.split == "test"]
    assert read_instances(rule, ("test",)) == expected


def test_a_smaller_sample_is_part_of_a_larger_one(rule):
    samples = [set(ids(read_instances(rule, ("discovery", "test"), n))) for n in range(1, 7)]
    assert [len(sample) for sample in samples] == [1, 2, 3, 4, 5, 6]
    assert all(small < large for small, large in pairwise(samples))
    with pytest.raises(ValueError, match=r"7 vqa instances .* hold only 6"):
        read_instances(rule, ("discovery", "test"), 7)


def test_a_missing_image_stops_before_any_work(rule, tmp_path):
    folder = tmp_path / "photographs"
    folder.mkdir()
    rule.params.cfg["image_folder"] = str(folder)
    with pytest.raises(ImageError, match=r"0\.png.*3 of the 3 images"):
        read_instances(rule, ("discovery",))


def test_unknown_task(tiny):
    with pytest.raises(ValueError, match="known tasks are vqa"):
        tiny.evaluator("grounding")


def test_evaluator_of_a_rule(rule):
    evaluator = open_evaluator(rule)
    assert (evaluator.batch_size, evaluator.max_new_tokens) == (2, 5)
    outcomes = outcomes_of(evaluator, evaluator.prepare(read_instances(rule, ("test",))))
    assert ids(outcomes) == ["vqa/1", "vqa/3", "vqa/5"]
    assert rule.params.cfg["model"]["batch_size"] == 2  # the provenance keeps it


def test_provenance_names_the_generation_config_in_effect(rule, tiny, monkeypatch):
    """METHOD 2: what `generate` is really given, as JSON has it; nothing where nothing is made."""
    rule.params.cfg["engine"] = {"path": "plain"}
    evaluator, instances = open_evaluator(rule), read_instances(rule, ("test",))
    stock, given = evaluator.adapter.model.generate, []

    def generate(**arguments):
        given.append(arguments["generation_config"])
        return stock(**arguments)

    monkeypatch.setattr(evaluator.adapter.model, "generate", generate)
    outcomes_of(evaluator, evaluator.prepare(instances))
    recorded = json.loads(json.dumps(made_by(rule, evaluator)))["generation"]
    assert recorded["eos_token_id"] == [tiny.adapter.tokenizer.eos_token_id]
    assert (recorded["repetition_penalty"], recorded["do_sample"]) == (1.0, False)
    assert recorded["max_new_tokens"] == 5
    assert given and all(
        {name: getattr(config, name) for name in recorded} == recorded for config in given
    )
    assert own_share(rule, evaluator, instances)[1] == made_by(rule, evaluator)
    assert "generation" not in made_by(rule, tiny.evaluator("retrieval"))
    del rule.params.cfg["decoding"]  # a step that measures without answers
    assert "generation" not in made_by(rule, evaluator)


def test_progress_yields_everything_and_prints_whole_lines(capsys):
    assert list(progress([1, 2, 3], "steps", every_seconds=0)) == [1, 2, 3]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["steps: 1/3", "steps: 2/3", "steps: 3/3"]
    assert lines[-1].endswith(" 0 s left")
    assert "\r" not in "".join(lines)


def test_progress_is_rare_and_reports_the_end(capsys):
    assert list(progress(range(1000), "steps", every_seconds=60)) == list(range(1000))
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        "steps: 1000/1000"
    ]
    assert list(progress([], "none")) == []
    assert list(progress(iter("ab"), "unknown", every_seconds=0)) == ["a", "b"]
    assert "unknown: 2 done" in capsys.readouterr().err


def test_progress_passes_exceptions_on():
    with pytest.raises(KeyError):
        for _ in progress([1, 2], "steps"):
            raise KeyError
