"""With a job for each task, only the tasks that a change touches run again.

The contract (test_invalidation_settings.py, test_invalidation_modules.py) says which steps do.
"""

import re
import shutil
import subprocess
import sys

import pytest
from dry_run_support import dry_run
from workflow_support import copy_project, pretend_complete, snakemake, succeed, write_config

MODELS = ("llava", "qwen2_5_vl")
OOD_SETS = ("gqa", "textvqa", "flickr30k_caption", "flickr30k_retrieval")
TASKS = ("vqa", "ocr", "caption", "retrieval")
TABLES_AND_FIGURES = {
    "tabulate_groups",
    "plot_group_drop",
    "tabulate_steering",
    "tabulate_selectivity",
    "plot_selectivity",
    "tabulate_text_erasure",
    "tabulate_ood_groups",
}
TABLES_AND_FIGURES |= {"tabulate_logit_lens", "plot_logit_lens"}
LENS = {f"measure_logit_lens/{task}" for task in TASKS} | {
    "choose_lens_samples",
    "plot_lens_samples",
}

TOKEN_LEVEL_STEPS = (
    "measure_dla",
    "measure_group_patching",
    "measure_qrnca",
    "measure_llm_knowledge",
)
SWEEPS = {"tabulate_sweeps", "plot_head_budget", "plot_ratio_drop"}
PLANTED = {"planted_recovery"}
AGREEMENT = {"tabulate_agreement", "plot_agreement"}
STABILITY = {"tabulate_stability"} | {f"measure_stability/{task}" for task in TASKS}
FIGURES_OF_TABLES = {
    f"plot_{table}"
    for table in (
        "agreement",
        "group_drop",
        "head_budget",
        "logit_lens",
        "ratio_drop",
        "selectivity",
    )
}
EFFICIENCY = {"measure_efficiency/vqa", "tabulate_efficiency"}

# From the membership of the top sets on, all tasks depend on each other.
AFTER_TOP_SETS = (
    {"build_overlap_groups", "select_dominant_groups", *TABLES_AND_FIGURES, *LENS}
    | {"predict_text_erased", "predict_ood_groups", "plot_group_sizes"}
    | {f"predict_selectivity/{task}" for task in TASKS}
    | {f"predict_group_masked/{task}" for task in TASKS}
    | {f"learn_steering_scales/{task}" for task in TASKS}
    | {f"predict_steered/{task}" for task in TASKS}
)


def planned(project, target: str = "all", overlay: str | None = None) -> frozenset[str]:
    """What would run for the target, without report and cards, which follow whatever they show."""
    overlays = [project / overlay] if overlay else []
    return dry_run(project, (target,), *overlays).jobs - {"write_report", "write_neuron_cards"}


def every_model_step(task: str) -> set[str]:
    """All steps of one task up to its masked predictions, and what shows them."""
    steps = ("predict_base", "measure_head_effects", "rank_heads", "measure_neuron_effects")
    steps += ("measure_activations", "measure_random_heads", "measure_gaussian_heads")
    steps += ("predict_head_budget", "measure_stability")
    jobs = {f"{step}/{task}" for step in steps} | ranked_and_masked(*TASKS)
    jobs |= {"plot_head_scores", "tabulate_stability"}
    if task == "vqa":
        jobs |= {f"{step}/vqa" for step in TOKEN_LEVEL_STEPS} | EFFICIENCY
    return jobs


def ranked_and_masked(*tasks: str) -> set[str]:
    """From these tasks' rankings on. Those of all tasks change with one task's activations, because
    MMNeuron compares them."""
    jobs = {f"{step}/{task}" for step in ("rank_neurons", "predict_masked") for task in tasks}
    jobs |= {f"predict_ratio_masked/{task}" for task in tasks} | SWEEPS
    return jobs | {"tabulate_masking", "plot_layer_histogram"} | AGREEMENT


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """One job a task: what a task does not need is then not run again with it."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    config = project / "config.yaml"
    config.write_text(config.read_text().replace("jobs: per_model ", "jobs: per_task "))
    pretend_complete(project, "all", "ood_benchmark")
    return project


@pytest.fixture
def edit(complete):
    """Replace text in a file of the project, and put it back afterwards with its old time."""
    kept = []

    def replace(name: str, old: str, new: str) -> None:
        path = complete / name
        backup = path.with_suffix(".kept")
        if not backup.exists():
            shutil.copy2(path, backup)
            kept.append((path, backup))
        text = path.read_text()
        assert old in text, f"{name} no longer holds {old!r}"
        path.write_text(text.replace(old, new, 1))

    yield replace
    for path, backup in kept:
        shutil.move(backup, path)


def test_after_a_complete_run_there_is_nothing_to_do(complete):
    assert "Nothing to be done" in succeed(complete, "--cores", "1", "--dry-run")


def test_the_masked_share_re_runs_neither_head_nor_neuron_scores(complete, edit):
    edit("config.yaml", "top_ratio: 0.01 ", "top_ratio: 0.02 ")
    assert planned(complete) == AFTER_TOP_SETS | {
        *(f"predict_masked/{task}" for task in TASKS),
        "tabulate_masking",
        "plot_layer_histogram",
        *AGREEMENT,
        *STABILITY,
    }


@pytest.mark.parametrize(
    ("old", "new", "tasks", "measured"),
    [
        ("ma_absolute: false", "ma_absolute: true", TASKS, STABILITY | PLANTED),
        ("max_query_share: 0.3 ", "max_query_share: 0.4 ", ("vqa",), PLANTED),
        ("steps: 20 ", "steps: 10 ", ("vqa",), {"measure_qrnca/vqa"} | EFFICIENCY | PLANTED),
        ("threshold: 0.2 ", "threshold: 0.3 ", ("vqa",), {"measure_qrnca/vqa"} | PLANTED),
        ("variance: layer ", "variance: final ", ("vqa",), {"measure_llm_knowledge/vqa"} | PLANTED),
        (
            "groups_per_layer: 10 ",
            "groups_per_layer: 5 ",
            ("vqa",),
            {"measure_group_patching/vqa"} | EFFICIENCY | PLANTED,
        ),
        (
            "token_level_samples: 64",
            "token_level_samples: 50 ",
            ("vqa",),
            {f"{step}/vqa" for step in TOKEN_LEVEL_STEPS},
        ),
        (
            "random_head_seeds: 3 ",
            "random_head_seeds: 2 ",
            TASKS,
            {f"measure_random_heads/{task}" for task in TASKS} | PLANTED,
        ),
        ("trials: 10 ", "trials: 5 ", (), EFFICIENCY),
    ],
)
def test_an_option_of_a_ranker_re_runs_its_own_measurement(
    complete, edit, old, new, tasks, measured
):
    edit("config.yaml", old, new)
    ranked = AFTER_TOP_SETS | ranked_and_masked(*tasks) if tasks else set()
    assert planned(complete) == ranked | measured


def test_a_shorter_list_of_rankers_measures_nothing_anew(complete):
    overlay = write_config(complete, "few.yaml", {"neurons": {"rankers": ["hones", "random"]}})
    found = planned(complete, overlay=overlay)
    assert found == AFTER_TOP_SETS | ranked_and_masked(*TASKS)


def test_larger_shares_are_of_the_model_s_own_rankers(complete, edit):
    edit("config.yaml", "mmneuron, random] # the others", "mmneuron] # the others")
    swept = {}
    for model in ("llava", "qwen2_5_vl"):
        plan = dry_run(complete, (f"results/toy/{model}/vqa/ratio_predictions.parquet",))
        swept[model] = plan.params[f"predict_ratio_masked/{model}/vqa"]["cfg"]["vqa"]["rankers"]
    assert swept == {"llava": ["hones", "random"], "qwen2_5_vl": ["hones"]}


def test_every_ranker_on_every_model_is_a_target_of_its_own(complete):
    steps = ("measure_random_heads", "measure_gaussian_heads")
    steps += ("rank_neurons_full", "predict_masked_full")
    jobs = {f"{step}/{task}" for step in steps for task in TASKS} | {"tabulate_masking_full"}
    assert planned(complete, "rankers_full") == jobs | {f"{step}/vqa" for step in TOKEN_LEVEL_STEPS}


def test_a_changed_ranker_re_runs_no_model_but_masking_and_what_follows(complete, edit):
    edit("hones_core/attribution/ape.py", "DECIMALS = 12", "DECIMALS = 9")
    expected = AFTER_TOP_SETS | ranked_and_masked(*TASKS)
    assert planned(complete) == expected | STABILITY | PLANTED


def test_the_reasons_are_put_into_plain_words(complete, edit):
    benchmarks = complete / "results" / "toy" / "benchmarks"
    for model in MODELS:
        for name in OOD_SETS:
            write_record(benchmarks / "predict_ood_groups" / model / "ood" / f"{name}.tsv", 3600)
        for task in TASKS:
            write_record(benchmarks / "learn_steering_scales" / model / f"{task}.tsv", 900)
    edit("config.yaml", "kl_weights: [0.05]", "kl_weights: [0.1]")
    edit("config.yaml", "n_images: null            # images", "n_images: 100 # images")  # of GQA
    edit("hones_core/lens_samples.py", "import pandas as pd", "import pandas as pd, sys")
    done = subprocess.run(
        [sys.executable, "-m", "hones_core.explain"], cwd=complete, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    # a quarter of what the groups took on other data, and all of what the scales took
    assert re.match(r"\d+ jobs would run, 4\.0 h of work by the times of the last", done.stdout)
    changed = done.stdout.split("Because a setting changed:\n")[1].split("\n\n")[0].splitlines()
    assert set(zip(changed[::2], changed[1::2], strict=True)) == {
        ("  steering.kl_weights: [0.05] → [0.1]", "    learn_steering_scales (8)"),
        ("  n_images: None → 100", "    build_ood_items (1)"),
    }
    assert "  hones_core/lens_samples.py\n    choose_lens_samples (2)\n" in done.stdout
    assert done.stdout.endswith("\nWhat stays, 6.0 h of work: predict_ood_groups (6).\n")


def write_record(path, seconds):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\tmax_rss\n{seconds}\t1\n")


def test_a_setting_of_one_model_leaves_the_jobs_of_the_other_alone(complete, edit):
    steps = ("rank_heads", "measure_neuron_effects", "predict_head_budget")
    expected = {f"{step}/{task}" for step in steps for task in TASKS} | {"plot_head_scores"}
    expected |= AFTER_TOP_SETS | ranked_and_masked(*TASKS) | STABILITY | EFFICIENCY
    shared = {job for job in expected if job.startswith("tabulate_")}
    edit("config.yaml", "top_heads: 8              # as above", "top_heads: 4 # not as above")
    plan = dry_run(complete, ("all",))
    assert plan.jobs == expected | {"write_report", "write_neuron_cards"}
    # figures of the tables, which show all models
    assert plan.of_model["llava"] == FIGURES_OF_TABLES
    assert plan.of_model["qwen2_5_vl"] == plan.jobs - shared - {"write_report"}


def test_the_outline_colour_re_runs_what_sees_the_ocr_image(complete, edit):
    edit("config.yaml", "colour: [0, 0, 255]", "colour: [255, 0, 0]")
    assert planned(complete) == AFTER_TOP_SETS | every_model_step("ocr") | {
        "draw_ocr_images",
        "gather_ocr_images",
        "build_instances/ocr",
    }


def test_the_number_of_image_jobs_re_runs_what_sees_the_ocr_image(complete, edit):
    edit("config.yaml", "image_shards: 2 ", "image_shards: 3 ")
    assert planned(complete) == AFTER_TOP_SETS | every_model_step("ocr") | {
        "draw_ocr_images",
        "gather_ocr_images",
        "build_instances/ocr",
        "erase_image_texts",
        "gather_text_erased_images",
    }


def test_what_a_retrieval_candidate_is_re_runs_retrieval(complete, edit):
    edit("config.yaml", "distinct_captions: true ", "distinct_captions: false ")
    assert planned(complete) == AFTER_TOP_SETS | every_model_step("retrieval") | {
        "mine_retrieval_pools",
        "tabulate_false_negatives",
        "build_instances/retrieval",
        "mine_ood_pools",  # what a candidate is holds there too
        "build_ood_instances",
    }


def test_a_changed_task_re_runs_that_task(complete, edit):
    edit("hones_core/tasks/vqa.py", "import ", "CHANGED = 1\nimport ")
    ood = {"build_ood_items", "embed_ood_captions", "mine_ood_pools", "build_ood_instances"}
    assert planned(complete) == AFTER_TOP_SETS | every_model_step("vqa") | PLANTED | ood


def test_a_job_for_all_tasks_of_a_model_names_each_task_s_files_and_parameters(complete, edit):
    edit("config.yaml", "jobs: per_task ", "jobs: per_model ")
    jobs = planned(complete)
    assert "predict_base" in jobs and "rank_heads/ocr" in jobs
    assert not {"predict_base/ocr", "draw_toy_scenes", "build_instances/ocr"} & jobs


def of_each_task(*steps: str) -> set[str]:
    return {f"{step}/{task}" for step in steps for task in TASKS}


NEURON_STEPS = ("measure_neuron_effects", "measure_random_heads", "measure_gaussian_heads")
AFTER_NEURONS = AFTER_TOP_SETS | ranked_and_masked(*TASKS)
AFTER_HEADS = AFTER_NEURONS | STABILITY | EFFICIENCY | {"plot_head_scores"}
AFTER_HEADS |= of_each_task("rank_heads", "predict_head_budget", *NEURON_STEPS)
# Groups of neurons are chosen on results, not only made of the top sets.
NOT_AFTER_GROUPS = {"build_overlap_groups", "plot_group_sizes", "predict_text_erased"}
NOT_AFTER_GROUPS |= {"predict_ood_groups", "tabulate_ood_groups"}


@pytest.mark.parametrize("changed", ["z: 2", "z: 3, min_samples: 64"])
def test_screening_re_runs_what_head_effects_are_for(complete, edit, changed):
    edit(
        "config.yaml",
        "screening: null ",
        f"screening: {{rule: successive_elimination, {changed}}} ",
    )
    assert planned(complete) == AFTER_HEADS | of_each_task("measure_head_effects")


def test_without_screening_the_utility_of_heads_measures_none_anew(complete, edit):
    edit("config.yaml", "utility: task_metric ", "utility: target_logprob ")
    assert planned(complete) == AFTER_HEADS
    assert planned(complete, "head_screening") == {"tabulate_head_screening"}


def test_more_jobs_for_the_heads_re_run_what_head_effects_are_for(complete, edit):
    edit("config.yaml", "shards: 1                   # jobs per task; the", "shards: 3 # jobs; the")
    measured = of_each_task("measure_head_effects", "gather_head_effects")
    assert planned(complete) == AFTER_HEADS | measured


def test_more_jobs_for_neurons_re_run_neither_heads_nor_activations(complete, edit):
    edit(
        "config.yaml",
        "shards: 1                   # jobs per task, of what",
        "shards: 3 # jobs, of",
    )
    measured = of_each_task("gather_neuron_effects", *NEURON_STEPS)
    assert planned(complete) == AFTER_NEURONS | measured


def test_more_jobs_for_masking_re_run_masking_only(complete, edit):
    edit(
        "config.yaml",
        "shards: 1                   # jobs per task, of masked",
        "shards: 3 # of masked",
    )
    steps = ("predict_masked", "gather_masked_predictions", "gather_group_predictions")
    masked = of_each_task(*steps) | {"tabulate_masking"}
    assert planned(complete) == AFTER_TOP_SETS - NOT_AFTER_GROUPS | masked


def test_a_touched_input_of_equal_content_re_runs_nothing(complete):
    (complete / "resources" / "paper" / "steering_score.csv").touch()
    assert planned(complete) == set()


def test_the_real_study_plans_without_weights_images_or_annotations(complete):
    jobs = planned(complete, overlay="configs/paper.yaml")
    assert "draw_toy_scenes" not in jobs
    assert {"build_records", "measure_head_effects/retrieval", "tabulate_steering"} <= jobs


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"masking": {"top_ration": 0.1}}, "masking.top_ration: unknown key; did you mean"),
        ({"benchmark": {"splits": {"test": 0}}}, "benchmark.splits.test"),
    ],
)
def test_a_wrong_configuration_stops_before_anything_runs(complete, values, message):
    done = snakemake(
        complete, "--cores", "1", "--configfile", write_config(complete, "wrong.yaml", values)
    )
    assert done.returncode != 0
    assert message in done.stdout + done.stderr
