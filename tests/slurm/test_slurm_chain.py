"""The workflow's own rules on a real SLURM, killed on the way: what jobs ask for and make."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
from chain_support import small_run
from single_node import FEATURE, PARTITION
from slurm_support import (
    Run,
    SlurmRun,
    all_jobs,
    command,
    memory_mb,
    rule_of,
    set_up_profile,
)
from workflow_support import copy_project, snakemake, succeed, write_config

SCENES = "results/slurm/scenes"
ANNOTATIONS = f"{SCENES}/annotations"
TABLE = "results/slurm/tables/masking_drop.parquet"
SPLITS = {"discovery": 14, "development": 14, "test": 14}
CONFIG = small_run(
    "slurm",
    "qwen2_5_vl",  # the toy's chain has the LLaVA
    tasks=["vqa"],
    jobs="per_task",  # as on a cluster; with shards there is no other way
    data={
        "image_folder": f"{SCENES}/train2014",
        "captions": f"{ANNOTATIONS}/captions_train2014.json",
        "coco_text": f"{ANNOTATIONS}/cocotext.v2.json",
        "vqa_questions": f"{ANNOTATIONS}/v2_OpenEnded_mscoco_train2014_questions.json",
        "vqa_annotations": f"{ANNOTATIONS}/v2_mscoco_train2014_annotations.json",
        "toy_scenes": {"n_images": 42, "seed": 0},
    },
    benchmark={
        "splits": SPLITS,
        "retrieval": {"n_queries": dict.fromkeys(SPLITS, 4), "n_negatives": 5},
    },
    heads={"samples": {"vqa": 4}, "shards": 2},
    neurons={
        "rankers": ["hones", "random"],
        "random_seeds": 1,
        "samples": {"vqa": 4},
        "shards": 2,
    },
    masking={"bootstrap_resamples": 100},
)
FIRST_STEPS = {"draw_toy_scenes", "build_records", "build_instances"}
GATHERED = {"gather_head_effects", "gather_neuron_effects"}
WITHOUT_MODEL = {*FIRST_STEPS, *GATHERED, "rank_heads", "rank_neurons", "tabulate_masking"}
TIME_LIMITS = {
    "predict_base": "12:00:00",
    "measure_head_effects": "7-00:00:00",
    "measure_neuron_effects": "2-00:00:00",
    "predict_masked": "2-00:00:00",
}


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """The same without SLURM, on one core, beside the chain."""
    project = copy_project(tmp_path_factory.mktemp("local"))
    config = write_config(project, "small.yaml", CONFIG)
    run = Run(project, TABLE, "--cores", "1", "--configfile", config)
    return SimpleNamespace(project=project, run=run)


@pytest.fixture(scope="module")
def chain(tmp_path_factory, local):
    """A run whose main process is killed while heads are measured, and what a resumed one did."""
    project = copy_project(tmp_path_factory.mktemp("chain"))
    set_up_profile(project)
    arguments = (TABLE, "--configfile", write_config(project, "small.yaml", CONFIG))
    killed = SlurmRun(project, *arguments)
    killed.wait_for_job("measure_head_effects", "RUNNING")
    killed.process.send_signal(signal.SIGKILL)
    assert killed.end() == -signal.SIGKILL
    left = [rule_of(one) for one in killed.jobs() if one["JobState"] in ("RUNNING", "PENDING")]
    locked = SlurmRun(project, *arguments)
    assert locked.end() != 0
    command("scancel", f"--name={killed.jobs()[0]['JobName']}")  # as docs/running-at-scale.md says
    succeed(project, "--unlock", *arguments)
    resumed = SlurmRun(project, *arguments, "--rerun-incomplete")
    resumed.succeed()
    return SimpleNamespace(
        project=project,
        arguments=arguments,
        killed=killed,
        left=left,
        locked=locked,
        resumed=resumed,
    )


def test_every_job_got_what_the_profile_asks_for(chain):
    jobs = chain.resumed.jobs() + chain.killed.jobs()
    assert {rule_of(one) for one in jobs} == WITHOUT_MODEL | set(TIME_LIMITS)
    for job in jobs:
        rule = rule_of(job)
        asked = (job["Partition"], job["TimeLimit"], memory_mb(job), job["CPUs/Task"])
        if rule in TIME_LIMITS:
            assert asked == (PARTITION, TIME_LIMITS[rule], 32000, "4")
            assert (job["TresPerNode"], job["Features"]) == ("gres:gpu:v100:1", FEATURE)
        else:
            assert asked == (PARTITION, "01:00:00", 8000, "2")
            assert "TresPerNode" not in job and job["Features"] == "(null)"


def test_a_step_of_seconds_runs_beside_snakemake_and_not_in_the_queue(chain):
    assert "localrule build_splits:" in chain.killed.said()
    assert "build_splits" not in map(rule_of, all_jobs())


def test_a_killed_snakemake_leaves_jobs_and_a_lock_behind(chain):
    assert "measure_head_effects" in chain.left
    assert "unlock" in chain.locked.said()


def test_resuming_runs_only_what_was_not_finished(chain):
    again = [rule_of(one) for one in chain.resumed.jobs()]
    assert sorted(FIRST_STEPS & set(again)) == []
    assert again.count("measure_head_effects") == again.count("measure_neuron_effects") == 2
    assert again.count("tabulate_masking") == 1
    assert set(chain.resumed.states()) == {"COMPLETED"}
    dry = snakemake(chain.project, "--cores", "1", "--dry-run", *chain.arguments)
    assert "Nothing to be done" in dry.stdout + dry.stderr


def test_the_cluster_makes_the_same_bytes_as_one_core(chain, local):
    local.run.succeed()
    made = sorted(
        path.relative_to(local.project) for path in local.project.glob("results/**/*.parquet")
    )
    assert Path(TABLE) in made and len(made) > 10
    for path in made:
        assert (chain.project / path).read_bytes() == (local.project / path).read_bytes(), path
