"""Fixtures of the preflight's tests: a checkpoint to be damaged, and an empty cache of the hub."""

import shutil

import pytest

from hones_core.models import checkpoint as checkpoints


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the tiny LLaVA, to be damaged."""
    return shutil.copytree(tiny.folder, tmp_path / "model")


@pytest.fixture
def cache(monkeypatch, tmp_path):
    """An empty cache of the hub, whose online state the test chooses."""
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(checkpoints.constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"
