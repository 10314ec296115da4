"""What would run again, in plain words, from the text of a dry run."""

import pytest

from hones_core.explain import Job, causes, explanation, jobs_of

PARAMS = "Params have changed since last execution: Union of exclusive params before and now "
PARAMS += "across all output: before: {before} now: {now} "
DRY_RUN = """Building DAG of jobs...
Job stats:
job             count
all                 1
predict_masked      1

[Sat Nov 21 18:36:14 2026]
rule predict_masked:
    input: a.parquet
    log: results/toy/logs/predict_masked/llava.log
    reason: {reason}
    wildcards: model=llava
[Sat Nov 21 18:36:14 2026]
localrule tabulate_masking:
    input: b.parquet
    log: results/toy/logs/tabulate_masking.log
    reason: Missing output files: c.csv; Input files updated by another job: b.parquet
[Sat Nov 21 18:36:14 2026]
rule all:
    input: c.csv
    reason: Input files updated by another job: c.csv
"""


def reason(before, now):
    return PARAMS.format(before=before, now=now)


def test_jobs_and_their_reasons_are_read_from_a_dry_run():
    found = jobs_of(DRY_RUN.format(reason="Forced execution"))
    assert found == [
        Job(
            "predict_masked", "Forced execution", "results/toy/benchmarks/predict_masked/llava.tsv"
        ),
        Job(
            "tabulate_masking",
            "Missing output files: c.csv; Input files updated by another job: b.parquet",
            "results/toy/benchmarks/tabulate_masking.tsv",
        ),
    ]


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({"top_ratio": 0.01, "x": 1}, {"top_ratio": 0.02, "x": 1}, "top_ratio: 0.01 → 0.02"),
        (
            {"vqa": {"model": {"dtype": "a"}}},
            {"vqa": {"model": {"dtype": "b"}}},
            "model.dtype: a → b",
        ),
        ({"a": 1}, {"a": 1, "seed": 0}, "seed: (nothing) → 0"),
        ({"a.py": "12"}, {"a.py": "34"}, "a.py"),
        (
            {"shared": {"a.py": "1"}, "vqa": {"hones_core/tasks/vqa.py": "1"}},
            {"shared": {"a.py": "1"}, "vqa": {"hones_core/tasks/vqa.py": "2"}},
            "hones_core/tasks/vqa.py",
        ),
        ({"torch": "2.13.0+cpu"}, {"torch": "2.14.0+cpu"}, "torch: 2.13.0+cpu → 2.14.0+cpu"),
        (2, 3, "shards: 2 → 3"),
    ],
)
def test_only_what_differs_is_named(before, now, expected):
    (found,) = causes(Job("x", reason(before, now), ""))
    assert found.what == expected


def test_several_params_are_told_apart_whatever_their_order():
    old = f"{ {'a.py': '1'} },{ {'top_ratio': 0.1} }"
    new = f"{ {'top_ratio': 0.2} },{ {'a.py': '2'} }"
    found = causes(Job("x", reason(old, new), ""))
    assert [cause.what for cause in found] == ["top_ratio: 0.1 → 0.2", "a.py"]


def test_a_number_of_shards_is_told_apart_from_the_settings_beside_it():
    """Snakemake lists what changed in any order and without names."""
    found = causes(Job("x", reason(f"1,{ {'top_ratio': 0.1} }", f"{ {'top_ratio': 0.2} },2"), ""))
    assert [cause.what for cause in found] == ["shards: 1 → 2", "top_ratio: 0.1 → 0.2"]


def test_a_reason_that_is_not_understood_is_passed_on():
    (found,) = causes(Job("x", "Software environment definition has changed", ""))
    assert found.what == "Software environment definition has changed"


def recorded(folder, **seconds):
    """The records of jobs of the run toy, and the jobs: {rule__model: seconds}."""
    jobs = []
    for name, taken in seconds.items():
        record = f"results/toy/benchmarks/{name.replace('__', '/')}.tsv"
        path = folder / record
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{taken}\t1\n")
        jobs.append(Job(name.split("__")[0], "", record))
    return jobs


def test_cost_and_what_stays_come_from_the_last_run(tmp_path):
    every = recorded(tmp_path, predict_masked__llava=120, predict_base__llava=60)
    changed = reason({"top_ratio": 0.01}, {"top_ratio": 0.02})
    said = explanation(jobs_of(DRY_RUN.format(reason=changed)), every, tmp_path)
    assert said.startswith("2 jobs would run, 2 min of work by the times of the last run (1 jobs")
    assert "top_ratio: 0.01 → 0.02\n    predict_masked (1)" in said
    assert "c.csv\n    tabulate_masking (1)" in said
    assert said.endswith("What stays, 60 s of work: predict_base (1).")


def test_of_a_rule_some_of_whose_jobs_run_the_others_stay(tmp_path):
    tasks = ("vqa", "ocr", "caption", "retrieval")
    every = recorded(tmp_path, **{f"predict_base__llava__{task}": 3600 for task in tasks})
    recorded(tmp_path, predict_base__llava=7200)  # of an earlier run with one job for all tasks
    said = explanation([job for job in every if "ocr" in job.record], every, tmp_path)
    assert said.startswith("1 jobs would run, 60 min of work by the times of the last run.")
    assert said.endswith("What stays, 3.0 h of work: predict_base (3).")


def test_nothing_to_do_is_said(tmp_path):
    assert explanation([], [], tmp_path).startswith("Nothing would run again")
