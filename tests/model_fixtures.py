"""Fixtures of the tests that run a model: tiny random checkpoints."""

import pytest
from model_support import make_tiny
from qwen_support import make_tiny_qwen

# The fixtures on which the engines are compared; each has the interface of `Tiny`.
FAMILIES = ("tiny", "grouped", "tiny_qwen")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Two layers of four heads, 24 neurons each."""
    return make_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def grouped(tmp_path_factory):
    """Three layers with grouped-query attention: four query heads on two key-value heads."""
    return make_tiny(tmp_path_factory.mktemp("grouped"), kv_heads=2, layers=3, seed=1)


@pytest.fixture(scope="session")
def tiny_qwen(tmp_path_factory):
    """Qwen2.5-VL: two layers of four query heads on two key-value heads, 24 neurons each."""
    return make_tiny_qwen(tmp_path_factory.mktemp("tiny_qwen"))


@pytest.fixture(scope="session", params=FAMILIES)
def family(request):
    """Each of the checkpoints."""
    return request.getfixturevalue(request.param)
