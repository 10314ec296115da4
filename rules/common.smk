# What all rules share: the checked configuration, and names made of it.
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import yaml
from snakemake.utils import update_config

# Where the project lies. Results lie where the command was given, which may be elsewhere: another
# workflow may use this one as a module.
ROOT = Path(workflow.current_basedir).parent
sys.path.insert(0, str(ROOT))
# The scripts run in processes of their own and import the library from here.
search_path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ.update(
    PYTHONPATH=os.pathsep.join(search_path), TOKENIZERS_PARALLELISM="false"
)
from workflow_scripts.step import SNAKEMAKE, own_process

os.environ[SNAKEMAKE] = own_process()  # steps end when this one has ended

try:
    from hones_core.atomic import unusable_folder
    from hones_core.fingerprint import code_digest, versions
    from hones_core.ranker_catalogue import (
        TOKEN_LEVEL,
        applicable,
        artifacts_for,
        compares_tasks,
    )
    from hones_core.settings import SettingsError, load_settings, plain
    from hones_core.task_catalogue import TASK_NAMES
    from hones_core.tasks.ood_sets import OOD_DATASETS, OOD_SETS, sets_in_run
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error} in {sys.executable}: run `make env` and then .venv/bin/snakemake, "
        "or install envs/requirements.txt there"
    ) from None

# The configuration of a run, or of a module, holds what differs from the project's own.
own_config = os.path.relpath(ROOT / "config.yaml")
try:
    whole_config = yaml.safe_load(Path(own_config).read_text(encoding="utf-8"))
except yaml.YAMLError as error:
    raise WorkflowError(f"{own_config} is not valid YAML: {error}") from None
update_config(whole_config, config)
config.update(whole_config)  # what Snakemake's report shows its texts with
CONFIG_FILES = [own_config, *workflow.configfiles]
try:
    SETTINGS = load_settings(whole_config, CONFIG_FILES)
except SettingsError as error:
    raise WorkflowError(str(error)) from None
if unusable_folder("results"):
    raise WorkflowError(unusable_folder("results"))


def shipped(path):
    """A path as it is, or, where there is nothing, the project's own of that name."""
    own = ROOT / path
    return os.path.relpath(own) if own.exists() and not Path(path).exists() else path


SETTINGS = SETTINGS.model_copy(
    update={
        "models": tuple(
            model.model_copy(update={"path": shipped(model.path)})
            for model in SETTINGS.models
        )
    }
)

RUN = f"results/{SETTINGS.run_name}"
TASKS = list(SETTINGS.tasks)
MODELS = [model.name for model in SETTINGS.models]
BY_NAME = sorted(MODELS)  # as tables list them, whatever the configuration does


# The out-of-distribution sets on which groups are masked.
GROUP_SETS = sets_in_run(SETTINGS.groups.ood_sets, TASKS)
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
if GROUP_SETS:
    TABLES.append("ood_group_drop")
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
PAPER = shipped("resources/paper")
OOD = SETTINGS.ood
# The plain path runs every prompt by itself.
JOINT_TASKS = list(SETTINGS.heads.joint_tasks) if SETTINGS.engine.path == "fast" else []
# What the file names of one of several jobs a task end with; a single job writes the artifact.
HEADS_JOB, NEURONS_JOB, MASKING_JOB = (
    f"{os.sep}{{shard}}" if part.shards > 1 else ""
    for part in (SETTINGS.heads, SETTINGS.neurons, SETTINGS.masking)
)
# A job that runs a model takes one task or, in turn, all of them.
PER_MODEL = SETTINGS.jobs == "per_model"
APART = ("task", [task for task in TASKS if task not in JOINT_TASKS])
SHIFTED_TOY = OOD.toy_scenes is not None
