"""Another workflow takes this one as a module, as README.md shows, and changes model and rule."""

import re
from pathlib import Path

import pytest
import yaml
from workflow_support import ROOT, copy_project, planned, succeed

from hones_core import artifacts
from hones_core.schemas.benchmark import SPLITS

README = (ROOT / "README.md").read_text(encoding="utf-8")
SECTION = README.split("\n## In a workflow of yours\n")[1].split("\n## ")[0]


def block(language: str) -> str:
    """The section's only block of that language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    """A folder with the README's workflow and configuration, beside the project."""
    place = tmp_path_factory.mktemp("place")
    folder = place / "mine"
    folder.mkdir()
    copy_project(place / "hones")
    (folder / "Snakefile").write_text(block("python"))
    (folder / "mine.yaml").write_text(block("yaml"))
    return folder


def test_its_jobs_are_planned_with_the_model_of_the_other_workflow(mine):
    jobs = planned(mine)
    assert {"hones_predict_base", "hones_learn_steering_scales", "summary"} <= jobs
    said = succeed(mine, "--cores", "1", "--dry-run")
    models = set(re.findall(r"wildcards: .*\bmodel=([^,\n]+)", said))
    assert models == {"small"}
    (name,) = [one["name"] for one in yaml.safe_load(block("yaml"))["hones"]["models"]]
    assert models == {name}


def test_the_changed_rule_has_what_it_is_given(mine):
    said = succeed(mine, "results/study/benchmark/splits.parquet", "--cores", "2", "--dry-run")
    (changed,) = re.findall(r"^rule hones_draw_toy_scenes:\n(.*?)\n\n", said, re.M | re.DOTALL)
    assert "log: logs/scenes.log" in changed
    untouched = re.search(r"^rule hones_build_splits:\n(.*?)\n\n", said, re.M | re.DOTALL)[1]
    assert "log: results/study/logs/build_splits.log" in untouched


def test_rules_run_in_the_folder_of_the_other_workflow(mine):
    target = "results/study/benchmark/splits.parquet"
    succeed(mine, target, "--cores", "1")
    splits = artifacts.read(mine / target, SPLITS)
    assert splits["split"].value_counts().to_dict() == {
        "discovery": 140,
        "development": 100,
        "test": 180,
    }
    assert (mine / "logs" / "scenes.log").exists()
    assert not (mine.parent / "hones" / "results").exists()
    assert "Nothing to be done" in succeed(mine, target, "--cores", "1")


def test_it_runs_from_another_folder_by_its_snakefile(tmp_path):
    """What is shipped is found, and results lie where the command was given."""
    project = copy_project(tmp_path / "hones")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    snakefile = ("--snakefile", str(project / "Snakefile"))
    said = succeed(elsewhere, "--cores", "1", "--dry-run", *snakefile)
    assert "../hones/resources/toy/llava/config.json" in said
    assert "../hones/resources/paper/masking_absolute_score.csv" in said
    succeed(elsewhere, "results/toy/benchmark/records.parquet", "--cores", "1", *snakefile)
    assert (elsewhere / "results/toy/benchmark/records.parquet").exists()
    assert not (project / "results").exists()
