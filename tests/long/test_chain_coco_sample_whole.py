"""The whole chain with the toy Qwen2.5-VL on real COCO annotations; photographs are stand-ins."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))  # where the support modules are
from chain_support import (
    check_counts,
    check_head_effects,
    check_masked_sets,
    check_steered,
    check_tables,
    shown,
)
from coco_sample_support import QUERIES, SIZES, sample_run
from workflow_support import succeed


def test_counts_sets_and_tables(tmp_path):
    project, arguments, results = sample_run(tmp_path)
    targets = [f"results/coco/{name}" for name in shown(results.model)]
    succeed(project, *targets, *arguments)
    check_counts(results, SIZES, QUERIES)
    check_masked_sets(results, 0.01)
    check_head_effects(results, {"vqa": 12, "ocr": 12, "caption": 12, "retrieval": 4})
    check_steered(results)
    check_tables(results)
