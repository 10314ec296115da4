"""The configurations that are laid over the default: each plans a whole study, offline."""

from itertools import groupby
from pathlib import Path

import pytest
from dry_run_support import dry_run
from workflow_support import copy_project

from hones_core.engine import plan, projection
from hones_core.settings import Settings

ROOT = Path(__file__).parent.parent
PAPER = ["configs/paper.yaml"]
OVER_PAPER = {
    "paper-100": [*PAPER, "configs/paper-100.yaml"],
    "paper-13b": [*PAPER, "configs/llava-13b.yaml"],
}
STUDIES = {"paper": PAPER, **OVER_PAPER}
TOYS = {"toy-full": ["configs/toy-full.yaml"]}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("project"))


def planned(project: Path, files: list[str]) -> frozenset[str]:
    return dry_run(project, ("all",), *(project / file for file in files)).jobs


def settings_of(files: list[str]) -> Settings:
    return plan.read_settings("config.yaml", files)


def rows_of(files: list[str], memory_gb: float = 32.0) -> list[projection.Row]:
    return projection.rows(settings_of(files), memory_gb, plan.speeds("v100", None), shards=1)


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_every_overlay_is_planned_here():
    listed = {file for files in (STUDIES | TOYS).values() for file in files}
    assert {f"configs/{path.name}" for path in (ROOT / "configs").iterdir()} == listed


@pytest.mark.parametrize("run_name", STUDIES | TOYS)
def test_results_of_every_study_lie_apart(run_name):
    assert settings_of((STUDIES | TOYS)[run_name]).run_name == run_name


def test_the_full_toy_compares_every_ranker_on_both_models(project):
    settings = settings_of(TOYS["toy-full"])
    assert {settings.rankers_of(model.name) for model in settings.models} == {
        settings.neurons.rankers
    }
    assert {"measure_qrnca/vqa", "draw_toy_scenes"} <= planned(project, TOYS["toy-full"])


@pytest.mark.parametrize("run_name", OVER_PAPER)
def test_an_overlay_plans_without_weights_images_or_annotations(project, run_name):
    jobs = planned(project, OVER_PAPER[run_name])
    assert "draw_toy_scenes" not in jobs
    assert {"build_records", "measure_joint_head_effects", "tabulate_steering"} <= jobs


def test_the_plain_path_measures_joint_tasks_apart(project):
    (project / "plain.yaml").write_text("engine: {path: plain}")
    fast, plain = (planned(project, [*PAPER, *more]) for more in ([], ["plain.yaml"]))
    assert "measure_joint_head_effects" in fast - plain
    assert {"measure_head_effects/vqa", "measure_head_effects/caption"} <= plain - fast


def test_the_small_study_differs_from_the_papers_in_size_only():
    small, paper = (settings_of(STUDIES[name]) for name in ("paper-100", "paper"))
    for section in ("data", "tasks", "models", "decoding", "engine", "steering", "seed"):
        assert getattr(small, section) == getattr(paper, section), section
    queries = small.benchmark.retrieval.n_queries
    for split, images in small.benchmark.splits:
        pool = round(small.benchmark.retrieval.pool_fraction * images)
        assert images == 100
        assert getattr(queries, split) + pool <= images
        assert 4 * pool > small.benchmark.retrieval.n_negatives  # five captions an image
    assert small.stability.parts * 2 <= queries.discovery
    assert small.efficiency.samples <= small.benchmark.splits.discovery


def test_a_model_of_13b_needs_more_than_one_v100_of_32_gb():
    (model,) = settings_of(OVER_PAPER["paper-13b"]).models
    assert model.device == "split" and model.dtype == "float16"
    alone, together = (rows_of(OVER_PAPER["paper-13b"], memory) for memory in (32.0, 64.0))
    assert not all(row.fits for row in alone)
    assert all(row.fits for row in together)


def documented(files: list[str], memory_gb: float) -> list[str]:
    """The lines of the page's tables: per stage the hours and the peak of every model."""
    rows = rows_of(files, memory_gb)
    models = list(dict.fromkeys(row.model for row in rows))
    stages = list(dict.fromkeys(row.stage for row in rows))
    rows.sort(key=lambda row: (stages.index(row.stage), models.index(row.model)))
    lines = []
    for stage, of_stage in groupby(rows, key=lambda row: row.stage):
        cells = [stage]
        for _, own in groupby(of_stage, key=lambda row: row.model):
            own = list(own)
            peak = f"{max(row.peak_gb for row in own):.1f}"
            cells += [f"{sum(row.fast_hours for row in own):.1f}"]
            cells += [peak if all(row.fits for row in own) else f"**{peak}**"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


@pytest.mark.parametrize(
    ("run_name", "memory_gb"),
    [("paper", 32.0), ("paper-100", 32.0), ("paper-13b", 32.0), ("paper-13b", 64.0)],
)
def test_the_page_quotes_the_plan_of_now(run_name, memory_gb):
    page = (ROOT / "docs" / "running-at-scale.md").read_text()
    lines = documented(STUDIES[run_name], memory_gb)
    assert "\n".join(lines) in page, "docs/running-at-scale.md should say\n" + "\n".join(lines)
