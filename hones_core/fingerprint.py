"""What a step's code is: a digest over a script's import closure inside this project.

Snakemake does not see that a module imported by a script has changed. The digest goes into the
rule's `params`, so that it does. It is taken from the syntax tree without docstrings, so that
comments and formatting change nothing, and it is a mapping, so that a dry run names the module.
"""

import ast
import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path

PACKAGES = ("hones_core", "workflow_scripts")
ROOT = Path(__file__).resolve().parent.parent


class MissingPackageError(Exception):
    """A package that the workflow needs and that this Python does not have."""


def code_digest(
    script: str | Path, without: Iterable[str] = (), root: Path = ROOT
) -> dict[str, str]:
    """{file relative to root: digest} of `script` and every module of the project it reaches.

    Imports inside functions count too. `without` names modules that this step cannot reach at
    run time although they are imported (the other tasks of the task registry).
    """
    left_out = set(without)
    found: dict[str, str] = {}
    waiting = [Path(script).as_posix()]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found[name], imports = _digest(name, str(root))
        waiting += [file for module, file in imports if module not in left_out]
    return dict(sorted(found.items()))


def imported_modules(path: Path, root: Path = ROOT) -> set[str]:
    """The project's modules that a file imports, anywhere in it, and the packages around them."""
    return {module for module, _ in _digest(path.relative_to(root).as_posix(), str(root))[1]}


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of the packages whose behaviour a step depends on.

    Raises MissingPackageError for one that is not installed.
    """
    return {package: _version(package) for package in sorted(packages)}


@cache
def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise MissingPackageError(
            f"package {package} is not installed in {sys.executable}: run `make env` and then "
            ".venv/bin/snakemake, or install envs/requirements.txt there"
        ) from None


def _digest(name: str, root: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """Digest and imports of a file as it is now. By strings: a plan asks thousands of times."""
    return _digest_of(name, root, Path(root, name).stat().st_mtime_ns)


@cache
def _digest_of(name: str, root: str, changed: int) -> tuple[str, tuple[tuple[str, str], ...]]:
    path = Path(root, name)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = tuple(sorted(_imports(tree, root)))
    _strip_docstrings(tree)
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12], imports


def _imports(tree: ast.AST, root: str) -> set[tuple[str, str]]:
    """(module, file) of everything the tree imports from the project, packages included."""
    names: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError("relative imports are not followed; import from hones_core")
            module = node.module or ""  # always there without a level
            names |= {module} | {f"{module}.{alias.name}" for alias in node.names}
    modules: set[str] = set()
    for name in names:
        parts = name.split(".")
        if parts[0] in PACKAGES:  # importing a.b.c also runs a and a.b
            modules |= {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
    files = {module: _module_file(module, root) for module in modules}
    return {(module, file) for module, file in files.items() if file is not None}


def _module_file(module: str, root: str) -> str | None:
    base = module.replace(".", "/")
    for candidate in (f"{base}/__init__.py", f"{base}.py"):
        if Path(root, candidate).exists():
            return candidate
    return None  # a name inside a module, not a module


def _strip_docstrings(tree: ast.AST) -> None:
    for node in _statements(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        first = node.body[0] if node.body else None
        if (
            isinstance(first, ast.Expr)
            and isinstance(first.value, ast.Constant)
            and isinstance(first.value.value, str)
        ):
            node.body = node.body[1:]


def _statements(tree: ast.AST) -> Iterator[ast.AST]:
    """The tree and every statement in it: `ast.walk` without expressions, which are most of it."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for block in ("body", "orelse", "finalbody", "handlers", "cases"):
            waiting += getattr(node, block, ())
