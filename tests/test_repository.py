"""Facts about the repository itself: layers, rules and scripts, links."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from hones_core.fingerprint import code_digest

ROOT = Path(__file__).parent.parent


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


CODE = [
    path
    for folder in ("hones_core", "workflow_scripts", "benchmarks", "envs")
    for path in sorted((ROOT / folder).rglob("*.py"))
]


UNPICKLING = {"pickle", "dill", "joblib", "marshal", "shelve", "cloudpickle", "jsonpickle"}
# Whatever they are called on: `pd.read_pickle`, `loader.full_load`.
HARMFUL = {"read_pickle", "to_pickle", "read_hdf", "to_hdf", "system", "popen", "Unpickler"}
HARMFUL |= {"unsafe_load", "unsafe_load_all", "full_load", "full_load_all", "load_all"}
HARMFUL |= {"UnsafeLoader", "FullLoader"}
# Only these: `model.eval()` and `json.load` are harmless.
EXACTLY = {"eval", "exec", "torch.load", "torch.save", "yaml.load", "np.load", "numpy.load"}
TRUSTING = {"trust_remote_code", "shell", "allow_pickle"}  # nothing but False is given to them


def names_in(node: ast.AST) -> list[str]:
    """The dotted names that a node imports or uses."""
    if isinstance(node, ast.Import):
        return [one.name for one in node.names]
    if isinstance(node, ast.ImportFrom):
        return [f"{node.module}.{one.name}" for one in node.names]
    return [ast.unparse(node)] if isinstance(node, (ast.Attribute, ast.Name)) else []


def harmful_in(source: str) -> set[str]:
    """What of a module could load or run something that a data file holds."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        for name in names_in(node):
            first, _, rest = name.partition(".")
            if name in EXACTLY or first in UNPICKLING or rest.split(".")[-1] in HARMFUL:
                found.add(name)
        if isinstance(node, ast.keyword) and node.arg in TRUSTING:
            value = node.value
            if not (isinstance(value, ast.Constant) and value.value is False):
                found.add(node.arg)
    return found


@pytest.mark.parametrize("path", CODE, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_code_loads_or_runs_what_a_data_file_could_hold(path):
    assert harmful_in(path.read_text()) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, joblib.numpy_pickle as j",
        "from pickle import loads",
        "from torch import load as read",
        "from pandas import read_pickle",
        "from yaml import unsafe_load",
        "from os import system",
        "pd.read_pickle(path)",
        "read = pd.read_pickle",
        "frame.to_pickle(path)",
        "yaml.unsafe_load(text)",
        "yaml.full_load(text)",
        "yaml.load(text, Loader=SafeLoader)",
        "yaml.load_all(text, yaml.FullLoader)",
        "torch.load(path, weights_only=True)",
        "torch.save(state, path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "os.system(command)",
        "run(command, shell=True)",
        "run(command, shell=chosen)",
        "AutoModel.from_pretrained(path, trust_remote_code=True)",
        "eval(text)",
        "[exec][0](text)",
    ],
)
def test_what_could_load_or_run_it_is_found(source):
    assert harmful_in(source)


def test_what_is_harmless_is_not_taken_for_it():
    assert not harmful_in("import json, yaml\njson.load(f); yaml.safe_load(f); model.eval()")
    assert not harmful_in("from transformers import AutoModel\nf(p, trust_remote_code=False)")


def test_files_are_written_whole_or_not_at_all():
    """By `hones_core.atomic`: what is written is its temporary file, which it alone renames."""
    for path in CODE:
        if path.relative_to(ROOT).parts[0] in ("hones_core", "workflow_scripts"):
            written = {
                ast.unparse(node)
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute) and node.attr in ("write_text", "write_bytes")
            }
            assert written <= {"temporary.write_text", "temporary.write_bytes"}, path


def test_the_shipped_weights_are_safetensors():
    kinds = {path.suffix for path in (ROOT / "resources").rglob("*") if path.is_file()}
    assert ".safetensors" in kinds
    assert not kinds & {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".npy", ".npz", ".h5"}


WITHOUT_MODEL = ("build_", "choose_", "draw_", "gather_", "list_", "mine_", "plot_", "rank_")
WITHOUT_MODEL += ("select_", "tabulate_", "write_report")


@pytest.mark.parametrize(
    "script",
    sorted(
        path.stem
        for path in (ROOT / "workflow_scripts").glob("*.py")
        if path.stem.startswith(WITHOUT_MODEL)
    ),
)
def test_steps_without_a_model_do_not_load_torch(script):
    for file in code_digest(f"workflow_scripts/{script}.py"):
        assert "torch" not in imports_of(ROOT / file), file


def test_steps_open_models_in_one_way():
    """Through `model_step`, which looks at device and files, checks the model and sets threads."""
    scripts = (ROOT / "workflow_scripts").glob("*.py")
    opening = {path.stem for path in scripts if re.search(r"\bload_model\b", path.read_text())}
    assert opening == {"model_step"}


def test_every_rule_has_a_script_of_its_name_and_every_script_a_rule():
    rules = set()
    for path in (ROOT / "rules").glob("*.smk"):
        rules |= set(re.findall(r"^\s*rule (\w+):", path.read_text(), re.M))
    scripts = {path.stem for path in (ROOT / "workflow_scripts").glob("*.py")}
    assert scripts - rules == {
        "__init__",
        "step",
        "model_step",
        "neuron_effects_step",
        "table_step",
        "task_jobs",
        "timed_step",
    }
    assert rules - scripts == set()


def test_links_in_the_documents_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_newest_release_notes_are_those_of_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    heads = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert re.fullmatch(rf"{re.escape(version)} \((unreleased|\d{{4}}-\d\d-\d\d)\)", heads[0])
    assert len(set(heads)) == len(heads) and cited.get("version", version) == version


def test_the_catalog_is_told_how_the_workflow_is_deployed():
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    assert set(usage["mandatory-flags"]) == {"desc", "flags"}
    ways = usage["software-stack-deployment"]
    assert set(ways) == {"conda", "apptainer", "apptainer+conda"}
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert ways["conda"] == ("conda:\n" in rules) and ways["apptainer"] == ("container:" in rules)


def test_what_the_type_checker_is_told_to_ignore_has_a_code_and_a_reason():
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert given["strict"] and given["packages"] == ["hones_core"]
    for part in (given, *given["overrides"]):
        assert "ignore_errors" not in part and "disable_error_code" not in part
    for part in given["overrides"]:
        assert part["ignore_missing_imports"] and "*" not in part["module"]
    ignored = []
    for path in sorted((ROOT / "hones_core").rglob("*.py")):
        ignored += re.findall(r".*# type: ignore.*", path.read_text())
    for line in ignored:
        assert re.search(r"# type: ignore\[[a-z-]+\]  # \w+ \w+", line), line
    assert len(ignored) < 10
