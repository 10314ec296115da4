"""Each worker has one thread. The longest files go first, so that workers end together."""

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is there: models here are tiny

LONGEST = {  # about a minute or more each
    "test_chain_coco_sample",
    "test_chain_toy",
    "test_commands",
    "test_contributing",
    "test_engine_equality",
    "test_invalidation_modules",
    "test_invalidation_settings",
    "test_shared_cache",
    "test_workflow_invalidation",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.stem not in LONGEST)
