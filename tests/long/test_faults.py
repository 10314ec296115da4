"""Whatever happens to a run, resumed it ends with the bytes of an undisturbed one.

Takes about an hour of two cores: `make test-long`.
"""

import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
from faults_support import Killer, digests, small_project
from workflow_support import snakemake, succeed

KILLS = 20
SEED = 7


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The project of a clean run on one core."""
    project, arguments = small_project(tmp_path_factory.mktemp("undisturbed"))
    succeed(project, "--cores", "1", *arguments)
    return project, arguments


@pytest.fixture(scope="module")
def expected(undisturbed):
    found = digests(undisturbed[0])
    kinds = {Path(name).suffix for name in found}
    assert {".parquet", ".csv", ".md", ".svg", ".png", ".json", ".html"} <= kinds
    return found


def test_two_cores_at_another_path_give_the_same_bytes(expected, tmp_path):
    folder = tmp_path / "a folder with spaces"
    folder.mkdir()
    project, arguments = small_project(folder)
    succeed(project, "--cores", "2", *arguments)
    assert digests(project) == expected


def test_a_run_killed_twenty_times_ends_with_the_same_bytes(expected, tmp_path):
    project, arguments = small_project(tmp_path)
    killer = Killer(project, arguments, SEED)
    while sum(killer.kills.values()) < KILLS:
        assert killer.run_and_kill(after=(4.0, 16.0)), f"finished after only {killer.kills}"
    print(f"killed: {killer.kills}")
    succeed(project, "--unlock", *arguments)
    succeed(project, "--cores", "2", *arguments)
    assert all(killer.kills.values()) and killer.orphans_left() == []
    assert digests(project) == expected
    assert not list((project / "results").rglob("*.partial")), "unfinished parts are left"
    assert not list((project / "results").rglob(".*.tmp")), "temporary files are left"


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for the project and little more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount).returncode != 0:
        pytest.skip("SKIPPED, NOT PASSED: a full disk needs root and the right to mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_loses_nothing(expected, small_disk):
    project, arguments = small_project(small_disk)
    with (small_disk / "fill").open("wb") as filler:  # leaves 3 MB
        filler.write(b"\0" * (shutil.disk_usage(small_disk).free - 3_000_000))
    failed = snakemake(project, "--cores", "1", *arguments)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "No space left on device" in said
    made = {name: digest for name, digest in digests(project).items() if name in expected}
    assert "benchmark/records.parquet" in made
    assert made.items() <= expected.items(), "what was made before the disk was full is damaged"
    subprocess.run(["mount", "-o", "remount,size=400m", str(small_disk)], check=True)
    succeed(project, "--unlock", *arguments)
    succeed(project, "--cores", "2", *arguments)
    assert digests(project) == expected


READERS = {  # artifact of the run: a step that reads it
    "benchmark/splits": "tabulate_benchmark",
    "llava/vqa/base_predictions": "tabulate_masking",
    "llava/ocr/masked_predictions": "tabulate_masking",
    "llava/overlap_groups": "tabulate_groups",
    "llava/caption/neuron_ranking": "tabulate_agreement",
    "llava/retrieval/steered_predictions": "tabulate_steering",
    "tables/group_drop": "plot_group_drop",
}


def reason(failed: subprocess.CompletedProcess, rule: str) -> str:
    """Why the step stopped, in its own words: Snakemake's name every input anyway."""
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0, said
    found = re.search(rf"{rule} stopped: .*", said)
    assert found, said
    return found[0]


def put_unseen(path: Path, content: bytes | bytearray) -> None:
    """Write the file as a failing disk would: its time does not change."""
    stat = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_artifact_is_refused_and_the_remedy_that_is_named_helps(
    undisturbed, expected, name
):
    project, arguments = undisturbed
    path = project / "results" / "small" / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    content[random.Random(name).randrange(len(content))] ^= 0x10
    put_unseen(path, content)
    failed = snakemake(project, "--cores", "1", *arguments, "--forcerun", READERS[name])
    said = reason(failed, READERS[name])
    assert re.search(rf"{name}\.parquet (is damaged|is not a readable|has no digest)", said), said
    rule, command = re.search(
        r"what rule (\w+) made: snakemake (.+?) \(and the other", said
    ).groups()
    remade = succeed(project, *shlex.split(command), *arguments)
    assert re.findall(r"^(?:local)?rule (\w+):", remade, re.M) == [rule]
    succeed(project, "--cores", "2", *arguments)
    assert digests(project) == expected


UNREADABLE = {  # input: a step that reads it, and one artifact that the step makes
    "results/small/scenes/train2014/COCO_train2014_000000000001.png": (
        "predict_base",
        "llava/vqa/base_predictions.parquet",
    ),
    "resources/toy/llava/model.safetensors": ("predict_base", "llava/vqa/base_predictions.parquet"),
    "results/small/scenes/annotations/captions_train2014.json": (
        "build_records",
        "benchmark/records.parquet",
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_input_that_cannot_be_read_is_named_and_loses_nothing(undisturbed, expected, name):
    project, arguments = undisturbed
    path = project / name
    rule, made = UNREADABLE[name]
    content = path.read_bytes()
    target = f"results/small/{made}"
    put_unseen(path, content[: len(content) // 2])
    failed = snakemake(project, target, "--cores", "1", *arguments, "--forcerun", rule)
    put_unseen(path, content)
    assert path.name in reason(failed, rule)
    assert digests(project).items() <= expected.items()
    succeed(project, target, "--cores", "2", *arguments)
    assert digests(project) == expected
