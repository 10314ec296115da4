"""Snakemake's own report: every table and figure with its part of the study, labels and caption."""

import ast
import html
import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from docutils.core import publish_doctree
from jinja2 import StrictUndefined, Template
from workflow_support import ROOT, copy_project, pretend_complete, succeed

TARGETS = ("all", "ood_benchmark", "ood_steering", "head_screening")
RUN = Path("results/toy")


def declared() -> dict[str, tuple[str, str]]:
    """SHOWN of rules/shown.smk."""
    for node in ast.parse((ROOT / "rules" / "shown.smk").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SHOWN":
            return ast.literal_eval(node.value)
    raise AssertionError("rules/shown.smk has no SHOWN")


SHOWN = declared()
CAPTIONS = sorted((ROOT / "report").rglob("*.rst"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The project, and what Snakemake said when it made the report."""
    project = copy_project(tmp_path_factory.mktemp("project"))
    pretend_complete(project, *TARGETS)
    return project, succeed(project, *TARGETS, "--report", "report.html")


@pytest.fixture(scope="module")
def page(made):
    return (made[0] / "report.html").read_text()


def embedded(page: str, name: str) -> dict:
    """The data of that name which the page's script reads."""
    start = re.search(rf'<script id="[\w-]+">\s*var {name} = ', page).end()
    return json.JSONDecoder().raw_decode(page[start:])[0]


def name_of(path: str) -> str:
    """As SHOWN and the folder report/ name a result."""
    return f"{Path(path).relative_to(RUN).parts[0]}/{Path(path).stem}"


def words(text: str) -> str:
    """The text without markup, and with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", text)).replace("``", "").split())


def test_it_holds_every_table_and_figure_and_nothing_else(made, page):
    run = made[0] / RUN
    files = [*run.glob("tables/*.csv"), *run.glob("figures/**/*.svg")]
    results = embedded(page, "results")
    assert set(results) == {str(path.relative_to(made[0])) for path in files}
    assert {name_of(path) for path in results} == set(SHOWN)


def test_each_stands_in_its_part_with_labels_that_tell_it_from_the_others(page):
    results = embedded(page, "results")
    labels = {}
    for category, parts in embedded(page, "categories").items():
        for path in [path for paths in parts.values() for path in paths]:
            found = results[path]["labels"]
            labels[path] = (category, found["model"], found["what"])
            assert (category, found["what"]) == SHOWN[name_of(path)]
            of_model = [name for name in ("llava", "qwen2_5_vl") if name in Path(path).parts]
            assert [found["model"]] == of_model or found["model"] in {"all", "none", "planted"}
    assert set(labels) == set(results)
    assert len(set(labels.values())) == len(labels)


def test_each_has_its_caption(page):
    for path, result in embedded(page, "results").items():
        caption = (ROOT / "report" / f"{name_of(path)}.rst").read_text()
        assert words(result["caption"]) == words(caption), path
    assert "This is the run toy" in words(embedded(page, "workflow_desc"))


def test_it_is_made_without_a_network_and_re_runs_nothing(made):
    project, said = made
    assert "downloading" not in said
    assert "Nothing to be done" in succeed(project, "--cores", "1", "--dry-run", *TARGETS)


def test_every_caption_belongs_to_a_result():
    names = {str(path.relative_to(ROOT / "report").with_suffix("")) for path in CAPTIONS}
    assert names == {"workflow", *SHOWN}


@pytest.mark.parametrize("path", CAPTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_caption_is_valid_restructured_text(path):
    template = Template(path.read_text(), undefined=StrictUndefined)
    text = template.render(snakemake=SimpleNamespace(config={"run_name": "toy"}))
    strict = {"report_level": 1, "halt_level": 1}  # a mere hint is an error
    document = publish_doctree(text, settings_overrides=strict)
    assert len(document.astext()) > 40
