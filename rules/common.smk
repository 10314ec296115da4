# What all rules share: the checked configuration, and names made of it.
import os
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
# The scripts run in processes of their own and import the library from here.
search_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ.update(
    PYTHONPATH=os.pathsep.join(search_path), TOKENIZERS_PARALLELISM="false"
)

from hones_core.fingerprint import code_digest, versions
from hones_core.ranker_catalogue import (
    TOKEN_LEVEL,
    applicable,
    artifacts_for,
    compares_tasks,
)
from hones_core.settings import SettingsError, load_settings, plain
from hones_core.tasks.instances import TASK_NAMES
from hones_core.tasks.ood_sets import OOD_DATASETS, OOD_SETS

try:
    SETTINGS = load_settings(config)
except SettingsError as error:
    raise WorkflowError(str(error)) from None

RUN = f"results/{SETTINGS.run_name}"
TASKS = list(SETTINGS.tasks)
MODELS = [model.name for model in SETTINGS.models]
BY_NAME = sorted(MODELS)  # the order of the keys of what goes into `params`


def in_run(ood_set):
    """Whether the task whose neurons and scales are tried on the set is run."""
    return OOD_SETS[ood_set].in_domain_task in TASKS


MODEL_PACKAGES = ("torch", "transformers", "tokenizers")
TABLE_PACKAGES = ("numpy", "pandas", "pyarrow")
TABLES = [
    "masking_drop",
    "masking_score",
    "group_drop",
    "steering",
    "steering_bootstrap",
    "steering_side_effects",
    "head_budget",
    "ratio_drop",
    "ranker_agreement",
    "stability",
    "selectivity",
    "selectivity_index",
    "selectivity_by_kind",
    "logit_lens",
]
if "caption" in SETTINGS.tasks:
    TABLES.append("text_erasure")
if any(in_run(name) for name in SETTINGS.groups.ood_sets):
    TABLES.append("ood_group_drop")
# Beside HONES the random order, if both are ranked.
SWEPT_RANKERS = [
    name for name in ("hones", "random") if name in SETTINGS.neurons.rankers
]
BENCHMARK_TABLES = ["benchmark_funnel", "box_sizes", "retrieval_false_negatives"]
FORMATS = ["parquet", "csv", "md"]
FIGURES = [
    "head_scores",
    "layer_histogram",
    "group_sizes",
    "group_drop",
    "head_budget",
    "ratio_drop",
    "ranker_agreement",
    "selectivity",
    "logit_lens",
    "logit_lens_samples",
]
PAPER = "resources/paper"
OOD = SETTINGS.ood
# What the file names of one of several jobs a task end with; a single job writes the artifact.
JOINT_TASKS = list(SETTINGS.heads.joint_tasks)
HEADS_JOB = f"{os.sep}{{shard}}" if SETTINGS.heads.shards > 1 else ""
MASKING_JOB = f"{os.sep}{{shard}}" if SETTINGS.masking.shards > 1 else ""
# A job that runs a model takes one task or, in turn, all of them.
PER_MODEL = SETTINGS.jobs == "per_model"
APART = ("task", [task for task in TASKS if task not in JOINT_TASKS])
SHIFTED_TOY = OOD.toy_scenes is not None
