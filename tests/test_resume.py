"""A killed job resumes inside; its artifact has the same bytes as if nothing had happened."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import resume_support
from resume_support import JOBS, N_CHUNKS, Stopped, instances_of, run

from hones_core import artifacts

pytest_plugins = ["model_fixtures"]


@pytest.fixture
def evaluator(tiny):
    return tiny.evaluator("ocr", 2)


@pytest.fixture(scope="module")
def undisturbed(tiny, tmp_path_factory):
    """{job: bytes of its artifact}, made without parts."""
    folder = tmp_path_factory.mktemp("undisturbed")
    for job in JOBS:
        evaluator = tiny.evaluator("ocr", 2)
        frame, schema = JOBS[job](evaluator, instances_of(evaluator), None)
        artifacts.write(folder / job, frame, schema, {})
    return {job: (folder / job).read_bytes() for job in JOBS}


def interrupted(job, evaluator, output: Path, chunks: int, key=None) -> list[Path]:
    """Run a job into its end after `chunks` chunks; the parts that it left."""
    with pytest.raises(Stopped):
        run(job, evaluator, output, key, chunks)
    assert not output.exists()
    return sorted(output.with_suffix(".partial").rglob("*.part"))


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("chunks", [1, 3])
def test_a_stopped_job_resumes(evaluator, tmp_path, undisturbed, job, chunks):
    output = tmp_path / "effects.parquet"
    interrupted(job, evaluator, output, chunks)
    assert run(job, evaluator, output) == N_CHUNKS - chunks
    assert output.read_bytes() == undisturbed[job]
    assert list(tmp_path.iterdir()) == [output]


def test_a_job_may_be_stopped_again_and_again(evaluator, tmp_path, undisturbed):
    for job in JOBS:
        output = tmp_path / f"{job}.parquet"
        for _ in range(N_CHUNKS - 1):
            interrupted(job, evaluator, output, 1)
        assert run(job, evaluator, output) == 1
        assert output.read_bytes() == undisturbed[job]


@pytest.mark.parametrize("job", JOBS)
def test_parts_alone_change_nothing(evaluator, tmp_path, undisturbed, job):
    output = tmp_path / "effects.parquet"
    assert run(job, evaluator, output) == N_CHUNKS
    assert output.read_bytes() == undisturbed[job]
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("task", ["vqa", "caption", "retrieval"])
def test_every_tasks_outcomes_come_back_as_they_were(tiny, tmp_path, task):
    evaluator = tiny.evaluator(task, 2)
    for job in ("heads", "masking"):
        whole, resumed = tmp_path / f"{job}.whole", tmp_path / f"{job}.resumed"
        run(job, evaluator, whole, chunks=100)
        interrupted(job, evaluator, resumed, 2)
        run(job, evaluator, resumed, chunks=100)
        assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("job", JOBS)
def test_a_killed_process_resumes(tiny, evaluator, tmp_path, undisturbed, job):
    output = tmp_path / "effects.parquet"
    command = [sys.executable, resume_support.__file__, job, tiny.folder, tiny.images, output, "2"]
    root = Path(__file__).parent.parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    assert not output.exists()
    # What it was writing when it was killed is no part.
    folder = next(output.with_suffix(".partial").iterdir())
    (folder / ".00002.part.half").write_bytes(b"half")
    assert run(job, evaluator, output) == N_CHUNKS - 2
    assert output.read_bytes() == undisturbed[job]
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("job", JOBS)
def test_parts_of_other_settings_or_code_are_not_used(
    evaluator, tmp_path, undisturbed, capsys, job
):
    output = tmp_path / "effects.parquet"
    interrupted(job, evaluator, output, 3, key={"code": "old"})
    capsys.readouterr()
    assert run(job, evaluator, output, key={"code": "new"}) == N_CHUNKS
    assert "which are not used" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed[job]
    assert list(tmp_path.iterdir()) == [output]  # those of the old code are gone too


@pytest.mark.parametrize("job", JOBS)
def test_a_damaged_part_is_made_again(evaluator, tmp_path, undisturbed, capsys, job):
    output = tmp_path / "effects.parquet"
    parts = interrupted(job, evaluator, output, 3)
    content = bytearray(parts[0].read_bytes())
    content[-20] ^= 1
    parts[0].write_bytes(content)
    capsys.readouterr()
    # The sums so far are one part; with it all of them are gone.
    assert run(job, evaluator, output) == (N_CHUNKS if job == "neurons" else 2)
    assert f"{parts[0]} is damaged" in capsys.readouterr().err
    assert output.read_bytes() == undisturbed[job]


def test_only_the_latest_sums_are_kept(evaluator, tmp_path):
    parts = interrupted("neurons", evaluator, tmp_path / "effects.parquet", 3)
    assert [path.name for path in parts] == ["sums_00003.part"]


@pytest.mark.parametrize("job", JOBS)
def test_progress_counts_samples_and_leaves_out_what_was_kept(evaluator, tmp_path, capsys, job):
    output = tmp_path / "effects.parquet"
    interrupted(job, evaluator, output, 3)
    capsys.readouterr()
    run(job, evaluator, output)
    lines = capsys.readouterr().err.splitlines()
    counts = {"heads": "head effects, 8 heads", "neurons": "neuron effects, 2 heads"}
    counts["masking"] = "2 settings"
    assert len(lines) == 1  # quicker than ten seconds: the last line only
    assert counts[job] in lines[0]
    assert ": 7/7 samples, " in lines[0] and lines[0].endswith(" samples/s, 0 s left")
