"""What goes wrong on a cluster, on a real SLURM: failing jobs, scancel, Ctrl-C, a drained node.

The workflow is tiny, its rules bear names of the real one's, and the profiles are the real ones.
"""

import shutil
import signal
from pathlib import Path

import pytest
from slurm_support import SlurmRun, command, memory_mb, set_up_profile
from workflow_support import ROOT

SNAKEFILE = """
rule all:
    default_target: True
    input:
        "heads", "ranking"

rule predict_base:
    output:
        "base"
    shell:
        "touch started; {base}; touch {{output}}"

rule measure_head_effects:
    output:
        "heads"
    shell:
        "{heads}; touch {{output}}"

rule rank_heads:
    input:
        "base"
    output:
        "ranking"
    shell:
        "touch {{output}}"
"""
FAIL_ONCE = "test -e {0}.tried || {{{{ touch {0}.tried; exit 1; }}}}"
WAIT = "while [ ! -e go ]; do sleep 0.2; done"  # for the test


@pytest.fixture
def workflow(tmp_path):
    """Writes the tiny workflow, with what its jobs do, and gives its folder."""
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    set_up_profile(tmp_path)

    def write(base: str = "true", heads: str = "true") -> Path:
        (tmp_path / "Snakefile").write_text(SNAKEFILE.format(base=base, heads=heads))
        return tmp_path

    return write


def test_a_job_that_fails_is_a_new_job_with_more_memory_and_time(workflow):
    project = workflow(base=FAIL_ONCE.format("base"), heads=FAIL_ONCE.format("heads"))
    run = SlurmRun(project)
    run.succeed()
    base, heads = run.jobs_of("predict_base"), run.jobs_of("measure_head_effects")
    assert run.states("predict_base") == ["FAILED", "COMPLETED"]
    assert run.states("measure_head_effects") == ["FAILED", "COMPLETED"]
    for jobs in (base, heads):
        assert [memory_mb(one) for one in jobs] == [32000, 64000]
        assert len({one["JobId"] for one in jobs}) == 2
        assert not any("ArrayJobId" in one for one in jobs)
    assert [one["TimeLimit"] for one in base] == ["12:00:00", "1-00:00:00"]
    # never more than the partition allows, or the second attempt would be refused
    assert [one["TimeLimit"] for one in heads] == ["7-00:00:00", "7-00:00:00"]
    assert run.states("rank_heads") == ["COMPLETED"]


def test_a_cancelled_job_is_submitted_again(workflow):
    project = workflow(base=WAIT)
    run = SlurmRun(project, "base")
    cancelled = run.wait_for_job("predict_base", "RUNNING")
    command("scancel", cancelled["JobId"])
    run.wait_for("a second job", lambda: len(run.jobs_of("predict_base")) == 2)
    (project / "go").touch()
    run.succeed()
    assert run.states() == ["CANCELLED", "COMPLETED"]


def test_the_quick_profile_asks_for_less_time_and_ends_where_a_job_is_cancelled(workflow):
    run = SlurmRun(workflow(base=WAIT), "base", profile="slurm-dev")
    job = run.wait_for_job("predict_base", "RUNNING")
    command("scancel", job["JobId"])
    assert run.end() != 0
    assert f"SLURM-job '{job['JobId']}' failed, SLURM status is: 'CANCELLED'" in run.said()
    assert (job["TimeLimit"], job["Partition"]) == ("01:00:00", "v100")
    assert (job["TresPerNode"], memory_mb(job)) == ("gres:gpu:v100:1", 32000)
    assert len(run.jobs()) == 1


def test_ctrl_c_cancels_the_jobs_and_the_same_command_goes_on(workflow):
    project = workflow(base=WAIT)
    run = SlurmRun(project, "base")
    run.wait_for_job("predict_base", "RUNNING")
    run.wait_for("the job's command", (project / "started").exists)
    run.process.send_signal(signal.SIGINT)
    assert run.end() != 0
    assert run.states() == ["CANCELLED"]
    (project / "go").touch()
    SlurmRun(project, "base").succeed()
    assert (project / "base").exists()


def test_a_drained_node_finishes_its_job_and_the_run_waits_for_the_next(workflow):
    project = workflow(base=WAIT)
    run = SlurmRun(project, "ranking")
    node = run.wait_for_job("predict_base", "RUNNING")["NodeList"]
    try:
        command("scontrol", "update", f"nodename={node}", "state=drain", "reason=a test")
        (project / "go").touch()
        pending = run.wait_for_job("rank_heads", "PENDING")
        # SLURM words it in two ways, by what else is in the queue
        reasons = ("DRAINED", f"UnavailableNodes:{node}")
        show = ("squeue", "--noheader", "-o", "%R", "-j", pending["JobId"])
        run.wait_for("SLURM's reason", lambda: any(one in command(*show) for one in reasons))
        assert run.states("predict_base") == ["COMPLETED"]
    finally:
        command("scontrol", "update", f"nodename={node}", "state=resume")
    run.succeed()
    assert run.states() == ["COMPLETED", "COMPLETED"]
