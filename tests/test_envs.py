"""The environment files: made from one lock, which is closed, and is what the tests run in."""

import importlib.util
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ENVS = Path(__file__).parent.parent / "envs"
LOCK = (ENVS / "requirements.txt").read_text()
PYTORCH = "https://download.pytorch.org/whl/"
# What only torch's GPU builds need; each pins the versions itself, so that the lock fits them all.
CUDA_PACKAGES = ("nvidia-", "cuda-", "triton")


def script():
    spec = importlib.util.spec_from_file_location("make_envs", ENVS / "make_envs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MADE = script().generated(LOCK)
PIP_FILES = sorted(name for name in MADE if name.endswith(".txt"))
CONDA_FILES = sorted(name for name in MADE if name.endswith(".yaml"))


def locked() -> dict[str, str]:
    pairs = (line.split("==") for line in LOCK.split())
    return {canonicalize_name(name): version for name, version in pairs}


def pinned(lines: list[str]) -> dict[str, Version]:
    """{name: version} of requirements that each allow one version only."""
    found = {}
    for requirement in map(Requirement, lines):
        (clause,) = requirement.specifier
        assert clause.operator == "==" and not requirement.extras and not requirement.marker
        found[canonicalize_name(requirement.name)] = Version(clause.version)
    assert len(found) == len(lines)
    return found


def pip_lines(name: str) -> tuple[list[str], list[str]]:
    """Options and requirements of a pip file, with those of the files that it includes."""
    options, requirements = [], []
    for line in (ENVS / name).read_text().splitlines():
        if line.startswith("-r "):
            inner = pip_lines(line.removeprefix("-r "))
            options += inner[0]
            requirements += inner[1]
        elif line.startswith("--"):
            options.append(line)
        elif line and not line.startswith("#"):
            requirements.append(line)
    return options, requirements


def conda_lines(name: str) -> tuple[list[str], list[str]]:
    """Options and requirements of a conda file's pip section."""
    environment = yaml.safe_load((ENVS / name).read_text())
    python, pip, section = environment["dependencies"]
    assert (python, pip) == ("python=3.11", "pip")
    assert environment["name"] == Path(name).stem
    options = [line for line in section["pip"] if line.startswith("-")]
    return options, [line for line in section["pip"] if not line.startswith("-")]


def test_every_made_file_is_what_the_script_makes_now():
    for name, text in MADE.items():
        assert (ENVS / name).read_text() == text, f"{name} drifted; run: python envs/make_envs.py"


def test_no_environment_file_is_made_by_hand():
    sources = {"audit.py", "make_envs.py", "make_venv.sh", "requirements.in", "requirements.txt"}
    there = {path.name for path in ENVS.iterdir() if path.is_file()}
    assert there == sources | set(MADE)


def test_every_locked_package_is_pinned_and_named_ones_are_locked():
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line) for line in LOCK.split())
    pinned(LOCK.split())
    named = (ENVS / "requirements.in").read_text().splitlines()
    for line in named:
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", CONDA_FILES)
def test_conda_files_hold_the_lock(name):
    _, requirements = conda_lines(name)
    versions = {package: version.public for package, version in pinned(requirements).items()}
    assert versions == locked()


@pytest.mark.parametrize("name", PIP_FILES)
def test_pip_files_take_the_lock_and_one_build_of_torch(name):
    _, requirements = pip_lines(name)
    build = requirements.pop()
    assert requirements == LOCK.split()
    (package, version), *others = pinned([build]).items()
    assert not others and package == "torch" and version.local
    # pip wants both requirements met at once
    assert Requirement(f"torch=={locked()['torch']}").specifier.contains(version)


@pytest.mark.parametrize("name", ["requirements.txt", *PIP_FILES, *CONDA_FILES])
def test_a_build_is_named_where_its_index_is_and_nowhere_else(name):
    options, requirements = conda_lines(name) if name in CONDA_FILES else pip_lines(name)
    builds = [pinned([line])["torch"].local for line in requirements if line.startswith("torch==")]
    if name in ("requirements.txt", "hones.yaml"):  # an index out of reach costs every user retries
        assert options == [] and builds == [None]
    else:
        assert options == [f"--extra-index-url {PYTORCH}{builds[-1]}"]
        assert builds[-1] == ("cu126" if "v100" in name else "cpu")


def test_the_container_takes_the_same_files():
    text = MADE["hones.def"]
    copied = set(re.findall(r"envs/(\S+) /opt/envs/", text))
    assert copied == {"requirements.txt", *PIP_FILES}
    assert all((ENVS / name).is_file() for name in copied)
    assert re.search(r"%arguments\n    requirements=(\S+)", text)[1] in copied
    assert re.search(r"--build-arg requirements=(\S+)", text)[1] in copied


def test_the_lock_is_closed():
    """Every dependency of every locked package, here and without extras, is locked and fits."""
    versions, missing = locked(), []
    for name in versions:
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": ""}):
                continue
            if name == "torch" and needed.name.startswith(CUDA_PACKAGES):
                continue
            version = versions.get(canonicalize_name(needed.name))
            if version is None or not needed.specifier.contains(version, prereleases=True):
                missing.append(f"{name} needs {line}, the lock has {version}")
    assert missing == []


def test_the_installed_environment_is_the_lock():
    installed = {name: Version(metadata.version(name)).public for name in locked()}
    assert installed == locked(), "run: make env"


@pytest.mark.skipif(
    "HONES_RESOLVE" not in os.environ,
    reason="NOT CHECKED: whether the indexes have every pinned version; set HONES_RESOLVE=1",
)
@pytest.mark.parametrize("name", ["requirements.txt", *PIP_FILES])
def test_pip_finds_every_pinned_version(name, tmp_path):
    """In an empty environment, against the indexes that pip is configured with and the file's."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--target", str(tmp_path)]
    command += ["--no-deps", "--retries", "1", "-r", str(ENVS / name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
