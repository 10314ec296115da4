"""Every case of the catalogue: the exit status, the error's words, and that artifacts are kept.

`python tests/bad_inputs/test_catalogue.py` counts the cases.
"""

import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent))

from case import KINDS, Case
from commands import Snakemake, run_snakemakes
from config_cases import CONFIG
from data_cases import DATA
from environment_cases import ENVIRONMENT
from image_cases import IMAGES
from model_cases import MODEL

PARTS = (CONFIG, DATA, IMAGES, MODEL, ENVIRONMENT)


def catalogue() -> list[Case]:
    """All cases."""
    return [case for part in PARTS for case in part.cases]


def counts() -> dict[str, int]:
    """The number of cases of each kind."""
    return dict(Counter(case.kind for case in catalogue()))


def name_of(case: Case) -> str:
    return f"{case.kind}: {case.name}"


BY_SNAKEMAKE = [case for case in catalogue() if isinstance(case.command, Snakemake)]
IN_PROCESS = [case for case in catalogue() if not isinstance(case.command, Snakemake)]


@pytest.fixture(scope="module")
def outcomes(whole, tmp_path_factory):
    """{case: (its study, artifacts before, outcome)} of all that Snakemake runs."""
    prepared = []
    for case in BY_SNAKEMAKE:
        study = whole.copy(tmp_path_factory.mktemp("case") / "study")
        overlays = case.broken(study) or []
        prepared.append((study, study.state(), case.command.request(study, overlays)))
    found = run_snakemakes([request for _, _, request in prepared])
    return {
        name_of(case): (study, before, outcome)
        for case, (study, before, _), outcome in zip(BY_SNAKEMAKE, prepared, found, strict=True)
    }


def check(case: Case, outcome, before: dict, after: dict) -> None:
    assert outcome.status == case.status, outcome.said
    for words in case.says:
        assert words in outcome.said, f"{words!r} is not in:\n{outcome.said}"
    changing = (*case.not_kept, *case.gone)
    kept = {name: state for name, state in before.items() if not name.endswith(changing)}
    assert {name: after.get(name) for name in kept} == kept
    for name in case.gone:
        assert any(one.endswith(name) for one in before), f"{name} was not there"
        assert not any(one.endswith(name) for one in after), f"{name} is still there"
    new = {name for name in set(after) - set(before) if not name.endswith(case.not_kept)}
    assert not new, "results were made of it"


@pytest.mark.parametrize("case", BY_SNAKEMAKE, ids=name_of)
def test_refused_by_snakemake(case, outcomes):
    study, before, outcome = outcomes[name_of(case)]
    check(case, outcome, before, study.state())


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("case", IN_PROCESS, ids=name_of)
def test_refused_by_the_job(case, study):
    overlays = case.broken(study) or []
    before = study.state()
    outcome = case.command(study, overlays)
    check(case, outcome, before, study.state())


def test_every_kind_has_cases_and_no_name_stands_twice():
    names = [name_of(case) for case in catalogue()]
    assert len(set(names)) == len(names)
    assert set(counts()) == set(KINDS) and min(counts().values()) >= 10
    assert all(case.says and case.status for case in catalogue())


def test_the_document_counts_the_cases():
    page = (Path(__file__).parent.parent.parent / "docs" / "reliability.md").read_text()
    found = counts()
    said = f"{found['config']} of the configuration, {found['data']} of the data, {found['model']}"
    assert f"{len(catalogue())} cases: {said}" in " ".join(page.split())


if __name__ == "__main__":
    for kind, count in counts().items():
        print(f"{kind}: {count}")
    print(f"all: {len(catalogue())}")
