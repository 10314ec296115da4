"""The script that starts a SLURM for tests/slurm disturbs no other and says why it refuses."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest
from workflow_support import ROOT

sys.path.append(str(ROOT / "tests" / "slurm"))
import single_node


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A bare machine of which this is root: its configuration and state are below tmp_path."""
    monkeypatch.setattr(single_node, "CONFIG", tmp_path / "etc")
    monkeypatch.setattr(single_node, "STATE", tmp_path / "run")
    monkeypatch.setattr(single_node.os, "geteuid", lambda: 0)
    monkeypatch.setattr(single_node, "foreign_daemons", list)
    for name in ("SLURM_CONF", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("etc", "run"):
        (tmp_path / name).mkdir()
    return tmp_path


def refused() -> str:
    """Why no SLURM is started; nothing may be run to find out."""
    with pytest.raises(single_node.NoSlurm) as refusal, single_node.single_node():
        pytest.fail("a SLURM was started")
    return str(refusal.value)


@pytest.fixture(autouse=True)
def nothing_is_run(monkeypatch):
    def run(*arguments, **options):
        pytest.fail(f"started {arguments}")

    monkeypatch.setattr(single_node.subprocess, "run", run)
    monkeypatch.setattr(single_node.subprocess, "Popen", run)


@pytest.mark.parametrize("name", single_node.FILES)
def test_a_configuration_of_somebody_else_is_left_alone(machine, name):
    theirs = machine / "etc" / name
    theirs.write_text("ClusterName=theirs\n")
    assert str(theirs) in refused()
    single_node.remove_files()
    assert theirs.read_text() == "ClusterName=theirs\n"


def test_what_a_killed_run_left_behind_is_no_obstacle_and_goes(machine):
    ours = machine / "etc" / "slurm.conf"
    ours.write_text(single_node.MARK + "ClusterName=hones\n")
    (machine / "run" / "munge.key").write_bytes(b"secret")
    single_node.check_machine()
    single_node.remove_files()
    assert not ours.exists() and not (machine / "run").exists()


@pytest.mark.parametrize("left", ["nothing", "slurm.conf", "a device", "slurmd"])
def test_what_its_end_leaves_behind_is_an_error(machine, monkeypatch, capsys, left):
    """The command itself ends well; only the start and the commands of SLURM are not real here."""

    @contextlib.contextmanager
    def ended():
        yield 0.5
        single_node.remove_files()
        if left == "slurm.conf":
            (machine / "etc" / left).touch()
        elif left == "a device":
            (machine / "run").mkdir()
        elif left == "slurmd":
            monkeypatch.setattr(single_node, "foreign_daemons", lambda: ["slurmd"])

    def run(*arguments, **options):
        return subprocess.CompletedProcess(arguments, 0, "", "")

    monkeypatch.setattr(single_node, "single_node", ended)
    monkeypatch.setattr(single_node.subprocess, "run", run)
    monkeypatch.setattr(single_node.signal, "signal", lambda *_: None)
    assert single_node.main(["true"]) == (left != "nothing")
    names = {"slurm.conf": str(machine / "etc" / left), "a device": str(machine / "run")}
    said = capsys.readouterr().out
    if left == "nothing":
        assert "LEFT BEHIND" not in said
    else:
        assert f"LEFT BEHIND: {names.get(left, left)}" in said


def test_a_running_slurm_is_left_alone(machine, monkeypatch):
    monkeypatch.setattr(single_node, "foreign_daemons", lambda: ["slurmd"])
    assert "a SLURM runs here already: slurmd" in refused()


def test_inside_a_job_of_a_cluster_none_is_started(machine, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert "belongs to a SLURM already" in refused()


def test_others_than_root_are_told(machine, monkeypatch):
    monkeypatch.setattr(single_node.os, "geteuid", lambda: 1000)
    assert "root" in refused()


def test_without_packages_and_apt_the_packages_are_named(machine, monkeypatch):
    monkeypatch.setattr(single_node.shutil, "which", lambda name: None)
    assert "slurm-wlm, munge are not installed" in refused()


def test_two_at_a_time_are_refused(machine, monkeypatch):
    monkeypatch.setattr(single_node, "install", lambda: None)
    with (machine / "run.lock").open("w") as lock:
        single_node.fcntl.flock(lock, single_node.fcntl.LOCK_EX)
        assert "another run" in refused()


def test_what_is_left_of_a_job_is_ended_and_nothing_else(monkeypatch):
    monkeypatch.undo()
    ours = {**os.environ, single_node.UP: "1"}
    job, test = (
        subprocess.Popen(["sleep", "60"], env=environment)
        for environment in ({**ours, "SLURM_JOB_ID": "7"}, ours)
    )
    try:
        single_node.kill_left_jobs()
        assert job.wait(10) == -signal.SIGKILL
        assert test.poll() is None
    finally:
        test.kill()
        test.wait()
