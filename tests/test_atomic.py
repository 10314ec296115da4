"""Files that are whole or not there, also where several processes write the same."""

import subprocess
import sys

import pytest
from workflow_support import ROOT

WRITER = """
import sys
from hones_core.atomic import written_atomically

path, letter = sys.argv[1:]
with written_atomically(path) as temporary, temporary.open("w") as file:
    file.write(letter * 1000)
    file.flush()
    print("half", flush=True)
    sys.stdin.readline()
    file.write(letter * 1000)
"""


@pytest.fixture
def writer(tmp_path):
    """Start a process that writes a file of one letter, and stops when half of it is written."""
    started = []

    def start(letter: str) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "a.parquet"), letter],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "half\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen) -> int:
    process.communicate("go on\n", timeout=30)
    return process.returncode


def test_two_processes_that_write_the_same_file_never_mix(tmp_path, writer):
    orphan, resumed = writer("o"), writer("r")
    assert finish(resumed) == 0
    assert (tmp_path / "a.parquet").read_text() == "r" * 2000
    assert finish(orphan) == 0
    assert (tmp_path / "a.parquet").read_text() == "o" * 2000
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_what_a_killed_process_left_goes_with_the_next_write_and_nothing_else(tmp_path, writer):
    killed, alive = writer("k"), writer("a")
    killed.kill()
    killed.wait()
    others = [".b.parquet.1.tmp", ".a.parquet.elsewhere.1.tmp"]
    for name in others:
        (tmp_path / name).touch()
    assert len(list(tmp_path.iterdir())) == 4
    assert finish(writer("n")) == 0
    assert len(list(tmp_path.iterdir())) == 4  # the killed one's has become the new file
    assert finish(alive) == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(["a.parquet", *others])
