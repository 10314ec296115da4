"""Imports of the library go one way, as the table of layers in docs/architecture.md says."""

import ast
import re
from fnmatch import fnmatchcase
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from workflow_support import ROOT

from hones_core.fingerprint import imported_modules

LIBRARY = "hones_core"
TABLE = (ROOT / "docs" / "architecture.md").read_text().split("### Which way imports go")[1]


def module_name(path: Path, root: Path) -> str:
    """`hones_core.tasks` for hones_core/tasks/__init__.py."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def declared_layers(text: str) -> list[tuple[str, list[str]]]:
    """(layer, the patterns of its modules), the lowest first."""
    rows = re.findall(r"^\| ([a-z ]+) \| (`.*) \|$", text.split("\n## ")[0], re.MULTILINE)
    return [(layer, re.findall(r"`([^`]+)`", cell)) for layer, cell in rows]


LAYERS = declared_layers(TABLE)
MODULES = {module_name(path, ROOT): path for path in sorted((ROOT / LIBRARY).rglob("*.py"))}
INSIDE = {name: path for name, path in MODULES.items() if name != LIBRARY}


def layers_of(module: str) -> list[int]:
    """The layers whose patterns name the module, by the pattern that says most about it."""
    parts = module.removeprefix(f"{LIBRARY}.").split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        found = [
            number
            for number, (_, patterns) in enumerate(LAYERS)
            if any(fnmatchcase(name, pattern) for pattern in patterns)
        ]
        if found:
            return found
    return []


def upward_imports(modules: dict[str, Path], root: Path) -> list[str]:
    """What breaks the order of the layers, in words."""
    return [
        f"{name} ({LAYERS[own][0]}) imports {other} ({LAYERS[theirs][0]})"
        for name, path in modules.items()
        for own in layers_of(name)
        for other in sorted(imported_modules(path, root) - {LIBRARY})
        for theirs in layers_of(other)
        if theirs > own
    ]


def test_the_table_has_the_layers_in_their_order():
    names = [layer for layer, _ in LAYERS]
    assert names[0] == "files and configuration" and len(names) == 8
    order = ["settings", "tasks", "models", "engine", "masking", "tables", "report", "toy"]
    assert [layers_of(f"{LIBRARY}.{name}") for name in order] == [[n] for n in range(8)]


@pytest.mark.parametrize("module", INSIDE)
def test_every_module_is_in_one_layer(module):
    assert len(layers_of(module)) == 1, f"name {module} in the table of docs/architecture.md, once"


def test_every_name_of_the_table_is_a_module():
    names = {module.removeprefix(f"{LIBRARY}.") for module in INSIDE}
    for _, patterns in LAYERS:
        for pattern in patterns:
            assert any(fnmatchcase(name, pattern) for name in names), pattern


def test_no_module_imports_from_a_layer_further_down():
    assert upward_imports(INSIDE, ROOT) == []


@pytest.mark.parametrize(
    "line",
    ["import hones_core.report.page", "def later():\n    from hones_core.report import page"],
)
def test_an_import_the_wrong_way_is_found(tmp_path, line):
    for name in ("report/page.py", "tasks/vqa.py"):
        (tmp_path / LIBRARY / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / LIBRARY / name).write_text("")
    path = tmp_path / LIBRARY / "tasks" / "vqa.py"
    assert upward_imports({"hones_core.tasks.vqa": path}, tmp_path) == []
    path = path.with_name("ocr.py")
    path.write_text(line)
    (broken,) = upward_imports({"hones_core.tasks.ocr": path}, tmp_path)
    assert "hones_core.report.page (what people open and ask)" in broken


def test_no_modules_import_each_other_by_a_detour():
    graph = {}
    for name, path in INSIDE.items():
        imported = imported_modules(path, ROOT) & INSIDE.keys()
        # A package runs before its modules; that it gathers them is no circle.
        graph[name] = {other for other in imported if not name.startswith(f"{other}.")} - {name}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("path", MODULES.values(), ids=list(MODULES))
def test_the_library_knows_nothing_of_the_workflow(path):
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    assert not names & {"snakemake", "workflow_scripts"}
