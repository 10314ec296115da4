"""No pickle in rules and shipped files; the audit of the dependencies says what it could not do.

The code's imports and calls are looked at in test_repository.py, artifacts in test_chain_toy.py,
what is refused of a user's files in tests/bad_inputs.
"""

import importlib.util
import pickle
import re
import subprocess
import time

import pytest
import torch
from security_support import pickles_in
from workflow_support import ROOT


def audit():
    spec = importlib.util.spec_from_file_location("audit", ROOT / "envs" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


AUDIT = audit()


def package(name, **more):
    return {"name": name, "version": "1", "vulns": [], **more}


def test_rules_neither_unpickle_nor_evaluate():
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    assert len(files) > 15
    for path in files:
        text = path.read_text()
        assert not re.search(r"\b(pickle|dill|joblib|eval|exec)\b", text), path.name


def test_nothing_that_is_shipped_is_pickled(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights")
    (tmp_path / "b.parquet").write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "c.npy").touch()
    (tmp_path / "d.txt").write_text("\x80 is no protocol")
    assert [path.name for path in pickles_in(tmp_path)] == ["b.parquet", "c.npy", "weights"]
    assert pickles_in(ROOT / "resources") == []


def test_all_audited_and_clean():
    assert AUDIT.verdict({"dependencies": [package("a"), package("b")]}) == (
        AUDIT.CLEAN,
        "2 of 2 packages were audited",
    )


def test_a_vulnerable_package_is_named_with_what_mends_it():
    known = {"id": "CVE-1", "fix_versions": ["2"]}
    status, text = AUDIT.verdict({"dependencies": [package("a", vulns=[known]), package("b")]})
    assert status == AUDIT.VULNERABLE and "VULNERABLE: a 1: CVE-1; mended in: 2" in text


def test_what_was_not_audited_is_said_loudly():
    skipped = {"name": "a", "skip_reason": "not found"}
    status, text = AUDIT.verdict({"dependencies": [skipped, package("b")]})
    assert status == AUDIT.NOT_AUDITED
    assert text == (
        "1 of 2 packages were audited\nNOT AUDITED: 1 packages that the database does not know: a"
    )
    assert AUDIT.verdict(None)[0] == AUDIT.NOT_AUDITED


def test_without_pip_audit_nothing_is_called_clean(capsys):
    """The tests' environment has none."""
    assert importlib.util.find_spec("pip_audit") is None
    assert AUDIT.main() == AUDIT.NOT_AUDITED
    box = "#" * 80
    assert capsys.readouterr().out.startswith(f"{box}\n# NOT AUDITED")


def program(path, command: str) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{command}\n")
    path.chmod(0o755)
    return str(path)


def test_an_audit_that_gets_no_answer_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(AUDIT, "LONGEST_S", 0.5)
    monkeypatch.setattr(AUDIT.sys, "executable", program(tmp_path / "python", "exec sleep 60"))
    began = time.monotonic()
    assert AUDIT.report(AUDIT.LOCK) is None
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("status", "fails"), [("CLEAN", False), ("VULNERABLE", True), ("NOT_AUDITED", False)]
)
def test_make_audit_fails_only_if_something_is_vulnerable(tmp_path, status, fails):
    """The last line of its recipe, with an audit that ends in this way."""
    command = ["make", "--dry-run", "--no-print-directory", "audit", f"AUDIT={tmp_path}"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    program(tmp_path / "bin" / "python", f"exit {getattr(AUDIT, status)}")
    done = subprocess.run(["sh", "-c", recipe.splitlines()[-1]], cwd=ROOT)
    assert (done.returncode != 0) == fails
