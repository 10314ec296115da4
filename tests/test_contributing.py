"""CONTRIBUTING.md is executed: its blocks in a copy of the project, its commands, what it adds."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chain_support import small_run
from workflow_support import ROOT, copy_project, planned, succeed, write_config

from hones_core import artifacts
from hones_core.schemas.heads import BASE_PREDICTIONS, HEAD_RANKING
from hones_core.schemas.neurons import ACTIVATION_STATISTICS, NEURON_EFFECTS, NEURON_RANKING
from hones_core.task_catalogue import TASK_NAMES

DOCUMENT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PAGES = tuple(path.name for path in sorted(ROOT.glob("*.md")))
FOR_TESTS = (*PAGES, "tests", "docs", "benchmarks", "pyproject.toml", "CITATION.cff")
FOR_TESTS += (".snakemake-workflow-catalog.yml",)
SCENES = "results/small/scenes"
QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"


def blocks_of(section: str) -> list[tuple[str, str]]:
    """(language, text) of a section's blocks, in their order."""
    text = DOCUMENT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write_new_file(project: Path, text: str) -> None:
    """A block whose first line is its file's name in a comment."""
    first, rest = text.split("\n", 1)
    path = project / first.removeprefix("# ")
    assert first.startswith("# ") and path.parent.is_dir() and not path.exists(), first
    path.write_text(rest)


def apply_diff(project: Path, text: str) -> None:
    """Replace in each file the lines of every hunk that are there by those that shall be."""
    for part in re.split(r"^--- ", text, flags=re.MULTILINE)[1:]:
        name, rest = part.split("\n", 1)
        path = project / name
        for hunk in re.split(r"^@@\n", rest, flags=re.MULTILINE):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] for line in lines if not line.startswith("+"))
            after = "".join(line[1:] for line in lines if not line.startswith("-"))
            found = path.read_text().count(before)
            assert found == 1, f"{name} holds these lines {found} times:\n{before}"
            path.write_text(path.read_text().replace(before, after))


def run(project: Path, line: str) -> str:
    """One command of the document, run in the project; what it said."""
    program, *arguments = shlex.split(line)
    module = [] if program == "python" else ["-m", program]
    assert program in ("python", "pytest", "snakemake"), line
    if program == "pytest":
        arguments += ["-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, *module, *arguments],
        cwd=project,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout[-5000:]}{done.stderr[-5000:]}"
    return done.stdout + done.stderr


def follow(section: str, project: Path) -> dict[str, str]:
    """Do what the section says, in its order; {command: what it said}. It is in good style."""
    copy_project(project)
    for name in FOR_TESTS:
        source, target = ROOT / name, project / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    said = {}
    for language, text in blocks_of(section):
        if language in ("python", "yaml"):
            write_new_file(project, text)
        elif language == "diff":
            apply_diff(project, text)
        else:
            assert language == "sh"
            said |= {line: run(project, line) for line in text.splitlines()}
    for line in ("python -m ruff check .", "python -m ruff format --check ."):
        run(project, line)
    return said


def small(project: Path, **values) -> tuple[str, str]:
    """Arguments for a run on few scenes with the toy LLaVA."""
    config = small_run(
        "small",
        "llava",
        data={
            "image_folder": f"{SCENES}/train2014",
            "captions": f"{SCENES}/annotations/captions_train2014.json",
            "coco_text": f"{SCENES}/annotations/cocotext.v2.json",
            "vqa_questions": f"{SCENES}/annotations/{QUESTIONS}",
            "vqa_annotations": f"{SCENES}/annotations/v2_mscoco_train2014_annotations.json",
            "toy_scenes": {"n_images": 12, "seed": 0},
        },
        benchmark={"splits": {"discovery": 4, "development": 4, "test": 4}},
        jobs="per_task",
        **values,
    )
    config["heads"] |= {"joint_tasks": [], "samples": dict.fromkeys(TASK_NAMES)}
    config["neurons"]["token_level_samples"] = None
    return "--configfile", write_config(project, "small.yaml", config)


def test_a_ranker(tmp_path):
    said = follow("A ranker", tmp_path)
    dry_run = next(text for line, text in said.items() if line.startswith("snakemake"))
    assert re.search(r"rank_neurons +1", dry_run)
    assert re.search(r"measure_activations +1", dry_run)

    rankers = {"rankers": ["hones", "sign_change"]}
    arguments = small(tmp_path, tasks=["vqa"], neurons=rankers)
    folder = tmp_path / "results" / "small" / "llava" / "vqa"
    mean, size = np.array([0.5, -0.5, 0.1, -1.0]), np.array([0.5, 0.75, 0.9, 1.0])
    measured = pd.DataFrame(
        {"layer": [0, 0, 1, 1], "neuron": [0, 1, 0, 1], "mean_activation": mean}
        | {"mean_absolute": size, "active_fraction": 0.5, "n_samples": 4}
    )
    folder.mkdir(parents=True)
    artifacts.write(
        folder / "activation_statistics.parquet", measured, ACTIVATION_STATISTICS, {"rule": "test"}
    )
    effects = pd.DataFrame({"head_layer": [-1] * 4 + [0] * 4, "head": [-1] * 4 + [0] * 4})
    effects = effects.assign(layer=[0, 0, 1, 1] * 2, neuron=[0, 1] * 4, contribution=0.5)
    effects["drop"] = [0.0] * 4 + [0.1, 0.2, 0.3, 0.4]
    artifacts.write(folder / "neuron_effects.parquet", effects, NEURON_EFFECTS, {"rule": "test"})
    heads = {"rank": [0], "layer": [0], "head": [0], "score": [0.5], "logprob_drop": [0.1]}
    heads |= {"n_samples": [4], "selected": [True], "screened": [False]}
    heads = pd.DataFrame(heads)
    artifacts.write(folder / "head_ranking.parquet", heads, HEAD_RANKING, {"rule": "test"})
    target = "results/small/llava/vqa/neuron_ranking.parquet"
    alone = ("--allowed-rules", "rank_neurons")
    succeed(tmp_path, target, "--cores", "1", *arguments, *alone)
    ranking = artifacts.read(tmp_path / target, NEURON_RANKING)
    assert set(ranking["ranker"]) == {"hones", "sign_change"}
    ranking = ranking[ranking["ranker"] == "sign_change"]
    assert list(zip(ranking["layer"], ranking["neuron"], strict=True)) == [
        (1, 0),
        (0, 1),
        (0, 0),
        (1, 1),
    ]
    assert ranking["score"].tolist() == pytest.approx([0.8, 0.25, 0, 0])


def test_a_task(tmp_path):
    said = follow("A task", tmp_path)
    dry_run = next(text for line, text in said.items() if line.startswith("snakemake"))
    assert "results/toy/llava/naming/steered_predictions.parquet" in dry_run

    arguments = small(tmp_path, tasks=["vqa", "naming"])
    jobs = planned(tmp_path, *arguments)
    steps = ("predict_base", "measure_head_effects", "rank_neurons", "predict_masked")
    assert {f"{step}/naming" for step in steps} | {"tabulate_selectivity"} <= jobs
    target = "results/small/llava/naming/base_predictions.parquet"
    succeed(tmp_path, target, "--cores", "1", *arguments)
    found = artifacts.read(tmp_path / target, BASE_PREDICTIONS)
    assert len(found) == 12 and set(found["utility"]) <= {0.0, 1.0}
    assert found["instance_id"].str.startswith("naming/").all()
    assert (found["statistics"].map(list) == found["utility"].map(lambda one: [one])).all()


def test_a_model_family(tmp_path):
    said = follow("A model family", tmp_path)
    tests = next(iter(said.values()))
    assert re.search(r"\[100%\]", tests)
    folder = tmp_path / "vip_llava"
    make = (
        "import sys; sys.path[:0] = ['tests'];"
        "from vip_llava_support import MAKER; MAKER[1](MAKER[0](), 'vip_llava');"
        "from hones_core.models import load_model;"
        "from hones_core.engine.selfcheck import check_model;"
        "check_model(load_model('vip_llava', 'vip_llava')); print('accepted')"
    )
    assert "accepted" in run(tmp_path, f"python -c {shlex.quote(make)}")

    model = {"name": "vip", "path": str(folder), "family": "vip_llava"}
    config = small_run("small", "llava")
    config["models"] = [{**config["models"][0], **model}]
    arguments = ("--configfile", write_config(tmp_path, "vip.yaml", config))
    target = "results/small/vip/vqa/base_predictions.parquet"
    assert "predict_base" in planned(tmp_path, target, *arguments)


def test_an_intervention(tmp_path):
    said = follow("An intervention", tmp_path)
    dry_run = next(text for line, text in said.items() if line.startswith("snakemake"))
    assert re.search(r"predict_zero_head +1", dry_run)
    assert "zero_head_predictions" in (tmp_path / "docs" / "artifacts.md").read_text()

    arguments = small(tmp_path, tasks=["vqa"])
    folder = tmp_path / "results" / "small" / "llava" / "vqa"
    folder.mkdir(parents=True)
    ranking = pd.DataFrame(
        {"rank": [0, 1], "layer": [1, 0], "head": [3, 0], "score": [0.5, 0.1]}
        | {"logprob_drop": 0.1, "n_samples": 4, "selected": True, "screened": False}
    )
    artifacts.write(folder / "head_ranking.parquet", ranking, HEAD_RANKING, {"rule": "test"})
    target = "results/small/llava/vqa/zero_head_predictions.parquet"
    rules = ("draw_toy_scenes", "build_records", "build_splits", "build_instances")
    alone = ("--allowed-rules", *rules, "predict_zero_head")
    succeed(tmp_path, target, "--cores", "1", *arguments, *alone)
    found = pd.read_parquet(tmp_path / target)
    assert found.groupby("run").size().to_dict() == {"base": 4, "zero": 4}
