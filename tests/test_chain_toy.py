"""The whole chain on a few scenes with the toy LLaVA, and what happens when something breaks."""

import re

import pytest
from chain_support import (
    QUERIES,
    QUESTIONS,
    SCENES,
    SIZES,
    SMALL_TOY,
    Results,
    check_counts,
    check_head_effects,
    check_masked_sets,
    check_steered,
    check_tables,
)
from documents_support import blocks, commands, pages, python_of, run_command, run_python
from security_support import pickles_in
from test_commands import kind
from workflow_support import copy_project, snakemake, succeed, write_config

from hones_core import artifacts
from hones_core.benchmark.instance_objects import to_instances
from hones_core.engine.evaluate import Evaluator
from hones_core.models import load_model
from hones_core.schemas.benchmark import INSTANCES
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.ood import OOD_STEERED_PREDICTIONS
from hones_core.schemas.steering import STEERED_PREDICTIONS
from hones_core.steering.export import apply_scales, export_scales


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    project = copy_project(tmp_path_factory.mktemp("toy"))
    arguments = ("--cores", "1", "--configfile", write_config(project, "small.yaml", SMALL_TOY))
    succeed(project, *arguments)
    return project, arguments


@pytest.fixture
def results(run):
    return Results(run[0], "small", "llava")


def test_a_second_run_has_nothing_to_do(run):
    assert "Nothing to be done" in succeed(run[0], *run[1])


def test_counts_sets_effects_and_tables(results):
    check_counts(results, SIZES, QUERIES)
    check_steered(results)
    check_masked_sets(results, 0.01)
    check_head_effects(results, SMALL_TOY["heads"]["samples"])
    check_tables(results)


def test_the_shipped_model_does_the_tasks(results):
    utilities = {
        task: results.of_task(task, BASE_PREDICTIONS)["utility"].mean()
        for task in ("vqa", "ocr", "caption", "retrieval")
    }
    assert min(utilities.values()) > 0.4, utilities  # the bands of the model card, on few scenes


def test_the_cookbook_s_questions_are_answered(run):
    code = python_of("cookbook.md").replace("results/toy", "results/small")
    assert len(run_python(code, run[0]).splitlines()) > 10


def test_the_documents_commands_and_code_work_on_a_run(run):
    """Those that need results: of this run, since the documents' own takes a quarter of an hour."""
    asked = [command for page in pages() for command in commands(page)]
    of_a_run = [command for command in dict.fromkeys(asked) if kind(command) == "run on results"]
    assert len(of_a_run) >= 5
    for command in of_a_run:
        assert run_command(command.replace("results/toy", "results/small"), run[0])
    for code in blocks("README.md", "python"):
        if code.startswith("configfile:"):
            continue  # a Snakefile, which tests/test_module.py runs
        run_python(code.replace("results/toy", "results/small"), run[0])


def test_the_report_shows_this_run_and_loads_nothing(results):
    page = (results.folder / "report" / "index.html").read_text()
    assert "HONES: run small" in page and "llava" in page
    assert not re.search(r"""(src|href)=["'](?!#|data:|neurons/)""", page)
    for name in re.findall(r'href="(neurons/[^"]+)"', page):
        assert (results.folder / "report" / name).is_file()


def test_no_result_is_pickled(results):
    assert pickles_in(results.folder) == []
    assert len(list(results.folder.rglob("*.parquet"))) > 20


def test_artifacts_carry_their_provenance_but_no_place_or_time(run, results):
    path = results.folder / "llava" / "vqa" / "base_predictions.parquet"
    made = artifacts.provenance(path)
    assert made["rule"] == "predict_base"
    assert made["wildcards"] == {"model": "llava", "task": "vqa"}
    assert made["config"]["decoding"] == {"max_new_tokens": 24}
    assert made["generation"]["repetition_penalty"] == 1.0
    assert "hones_core/engine/evaluate.py" in made["code"]
    assert set(made["versions"]) == {"torch", "transformers", "tokenizers"}
    assert str(run[0]) not in str(made)


def test_learned_scales_go_to_another_data_set(run, results):
    project, arguments = run
    succeed(project, "results/small/llava/ood/gqa/steered_predictions.parquet", *arguments)
    found = results.read("llava/ood/gqa/steered_predictions", OOD_STEERED_PREDICTIONS)
    sizes = found.groupby(["method", "repeat"])["instance_id"].nunique().to_dict()
    assert sizes == {
        ("base", -1): 25,
        ("hones_zero_shot", -1): 25,
        ("random_zero_shot", -1): 25,
        **{(f"{name}_tuned", repeat): 20 for name in ("hones", "random") for repeat in (0, 1)},
    }


def test_exported_scales_reproduce_the_test_score(run, results, tmp_path):
    """Hooked onto the stock model, and asked by an evaluator of their own."""
    project, _ = run
    file = tmp_path / "scales.safetensors"
    header = export_scales(results.folder / "llava", "vqa", file)
    steered = results.of_task("vqa", STEERED_PREDICTIONS)
    own = steered[steered["method"] == "hones"].set_index("instance_id")
    assert header["scores"]["test"] == pytest.approx(own["utility"].mean())
    assert header["model"]["path"] == "resources/toy/llava"
    frame = results.read("benchmark/instances/vqa", INSTANCES)
    instances = to_instances(frame[frame["split"] == "test"])
    adapter = load_model(str(project / "resources/toy/llava"), "llava", device="cpu")
    evaluator = Evaluator(adapter, "vqa", project / SCENES / "train2014", 64, engine="plain")
    with apply_scales(adapter.model, file):
        prepared = evaluator.prepare(instances, score_targets=False)
        outcomes = evaluator.outcomes_under(prepared, {"base": None})["base"]
    assert {one.instance_id: one.utility for one in outcomes} == own["utility"].to_dict()


def one_job_a_task(project) -> tuple[str, ...]:
    """The arguments of the same run with a job for every task."""
    overlay = write_config(project, "per_task.yaml", {**SMALL_TOY, "jobs": "per_task"})
    return "--cores", "1", "--configfile", overlay


def test_a_job_of_one_task_makes_the_same_bytes_as_one_of_all(run, results):
    path = results.folder / "llava" / "caption" / "base_predictions.parquet"
    made_by_all = path.read_bytes()
    target = str(path.relative_to(run[0]))
    force = ("--rerun-triggers", "params", "--forcerun", "predict_base")
    succeed(run[0], target, *one_job_a_task(run[0]), *force)
    assert path.read_bytes() == made_by_all
    assert not path.with_suffix(".partial").exists()


def test_a_missing_image_stops_the_step_and_loses_nothing(run, results):
    project = run[0]
    arguments = one_job_a_task(project)
    kept = (results.folder / "llava" / "caption" / "base_predictions.parquet").read_bytes()
    victim = max((results.folder / "scenes" / "train2014").iterdir())
    image = victim.read_bytes()
    victim.unlink()
    target = "results/small/llava/vqa/base_predictions.parquet"
    force = ("--rerun-triggers", "params", "--forcerun", "predict_base")
    failed = snakemake(project, target, *arguments, *force)
    victim.write_bytes(image)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert victim.name in said and "predict_base stopped" in said
    assert (results.folder / "llava" / "caption" / "base_predictions.parquet").read_bytes() == kept


def test_a_truncated_annotation_file_is_named(run):
    project, arguments = run
    questions = project / SCENES / "annotations" / QUESTIONS
    whole = questions.read_bytes()
    questions.write_bytes(whole[: len(whole) // 2])
    target = "results/small/benchmark/records.parquet"
    failed = snakemake(project, target, *arguments, "--forcerun", "build_records")
    questions.write_bytes(whole)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert QUESTIONS in said and "build_records stopped" in said
