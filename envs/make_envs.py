"""Write every environment file from the lock, envs/requirements.txt: `make lock` calls it.

The lock itself is the file for current GPUs: it takes PyTorch's default wheels. The others differ
only in the build of torch, which PyTorch keeps on indexes of its own.
"""

from pathlib import Path

ENVS = Path(__file__).parent
PYTHON = "3.11"
# The builds that are not PyTorch's default, by kind. cu126: for torch 2.11 to 2.14 only these hold
# code for Volta (sm_70); torch 2.15 is planned without them, so a newer torch needs a look here.
BUILDS = {"cpu": "cpu", "v100": "cu126"}
INDEX = "https://download.pytorch.org/whl/{build}"
MADE = "# Made from the lock, requirements.txt, by `make lock`; do not edit."


def generated(lock: str) -> dict[str, str]:
    """{file name: text} of every file that is made from the lock's text."""
    files = {"hones.yaml": conda_environment(lock, "hones", None), "hones.def": container()}
    for kind, build in BUILDS.items():
        files[f"requirements-{kind}.txt"] = requirements(lock, build)
        files[f"hones-{kind}.yaml"] = conda_environment(lock, f"hones-{kind}", build)
    return files


def requirements(lock: str, build: str) -> str:
    """The lock with another build of torch, for pip.

    The build is named: without its index pip stops instead of taking PyTorch's default wheel.
    """
    index = f"--extra-index-url {INDEX.format(build=build)}"
    return "\n".join([MADE, index, "-r requirements.txt", _torch(lock, build)]) + "\n"


def conda_environment(lock: str, name: str, build: str | None) -> str:
    """A conda environment of Python and the whole lock.

    The lock is written out: Snakemake copies the file elsewhere, where `-r` would find nothing.
    """
    lines = lock.split()
    if build:
        lines = [_torch(lock, build) if line.startswith("torch==") else line for line in lines]
        lines.insert(0, f"--extra-index-url {INDEX.format(build=build)}")
    head = [MADE, f"name: {name}", "channels: [conda-forge]", "dependencies:"]
    head += [f"  - python={PYTHON}", "  - pip", "  - pip:"]
    return "\n".join(head + [f"      - {line}" for line in lines]) + "\n"


def container() -> str:
    """An Apptainer definition that installs one of the pip files."""
    pip_files = ["requirements.txt", *(f"requirements-{kind}.txt" for kind in BUILDS)]
    copied = "\n".join(f"    envs/{name} /opt/envs/{name}" for name in pip_files)
    return f"""\
{MADE}
# In the repository's root (Apptainer 1.2 or newer), for current GPUs and for the V100:
#   apptainer build hones.sif envs/hones.def
#   apptainer build --build-arg requirements=requirements-v100.txt hones-v100.sif envs/hones.def
# The repository stays outside: run `apptainer exec --nv hones-v100.sif snakemake ...` in it.
Bootstrap: docker
From: python:{PYTHON}-slim

%arguments
    requirements=requirements.txt

%files
{copied}

%post
    python -m pip install --no-cache-dir -r /opt/envs/{{{{ requirements }}}}
"""


def _torch(lock: str, build: str) -> str:
    """The locked torch of one build."""
    (line,) = (line for line in lock.split() if line.startswith("torch=="))
    return f"{line}+{build}"


if __name__ == "__main__":
    texts = generated((ENVS / "requirements.txt").read_text(encoding="utf-8"))
    for file_name, text in texts.items():
        (ENVS / file_name).write_text(text, encoding="utf-8")
