"""Every command in README and docs does what a reader expects of it.

Commands that need a run's results are tried by the test of the toy's chain.
"""

import re

import pytest
from documents_support import blocks, commands, dry, pages, run_command
from workflow_support import ROOT, copy_project

# Commands that no test can run, by their beginning, and why.
NOT_HERE = {
    "hf download ": "fetches weights from the hub",
    "ls $HF_HOME/": "shows what was fetched",
    "export ": "has no effect of its own",
    "scancel ": "needs a SLURM; tests/slurm does it",
    ". .venv/bin/activate": "changes the reader's shell",
}
OF_A_RUN = "python -m hones_core."
NEEDS_NO_MORE = r"--(cores|workflow-profile|report|unlock) "
CARDS = [f"resources/toy/{model}/README.md" for model in ("llava", "qwen2_5_vl")]
RUNS_ANYWHERE = ("python -c ", "python -m hones_core.engine.plan", "mkdir ", "sed ")


def kind(command: str) -> str:
    """How a command is tried; a command of no kind fails the test that lists them."""
    if command.startswith(tuple(NOT_HERE)):
        return "not here"
    if command.startswith(("snakemake ", "make ")):
        return "planned"
    if command.startswith(RUNS_ANYWHERE):
        return "run"
    return "run on results" if command.startswith(OF_A_RUN) else "unknown"


ALL = list(dict.fromkeys(command for page in pages() for command in commands(page)))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project, with the files that the documents tell the reader to write."""
    folder = copy_project(tmp_path_factory.mktemp("project"))
    (folder / "Makefile").write_text((ROOT / "Makefile").read_text())
    (own,) = blocks("docs/running-at-scale.md", "yaml")
    (folder / "cluster.yaml").write_text(own)
    return folder


def test_every_command_is_known():
    assert len(ALL) > 25
    assert [command for command in ALL if kind(command) == "unknown"] == []
    for beginning in NOT_HERE:
        assert any(command.startswith(beginning) for command in ALL), f"no {beginning!r} is left"


def test_no_command_stops_for_want_of_cores():
    """Neither in a block nor within a sentence: without a number Snakemake runs nothing here."""
    texts = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in [*pages(), *CARDS])
    said = [*re.findall(r"`(snakemake [^`]+)`", texts), *ALL]
    said = [command for command in said if command.startswith("snakemake ")]
    assert len(said) > 20
    assert [command for command in said if not re.search(NEEDS_NO_MORE, command)] == []


def test_commands_work_in_the_order_of_the_documents(project):
    """A folder that one command makes, another uses."""
    for command in ALL:
        if kind(command) == "planned":
            run_command(dry(command), project)
        elif kind(command) == "run":
            run_command(command, project)
