# What every rule uses: the checked configuration, and what its `params` are made of.
import os
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
sys.path.insert(0, str(ROOT))
# The scripts run in processes of their own and import the library from here.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from hones_core.fingerprint import code_digest, versions
from hones_core.settings import SettingsError, load_settings, plain
from hones_core.tasks.instances import TASK_NAMES

try:
    SETTINGS = load_settings(config)
except SettingsError as error:
    raise WorkflowError(str(error)) from None

RUN = f"results/{SETTINGS.run_name}"
TASKS = list(SETTINGS.tasks)
MODELS = [model.name for model in SETTINGS.models]
MODEL_PACKAGES = ("torch", "transformers", "tokenizers")
TABLE_PACKAGES = ("numpy", "pandas", "pyarrow")


wildcard_constraints:
    task="|".join(TASK_NAMES),
    model="|".join(MODELS),


def section(**values):
    """The configuration values that one rule uses, as builtins in canonical order."""
    return plain(
        {
            name: plain(value) if hasattr(value, "model_dump") else value
            for name, value in values.items()
        }
    )


def code(script, task=None):
    """Digest of a script and all project code it imports; of the tasks only its own."""
    others = [
        f"hones_core.tasks.{name}" for name in TASK_NAMES if task and name != task
    ]
    return code_digest(f"workflow_scripts/{script}.py", without=others, root=ROOT)


def model_section(name):
    """What running a model depends on."""
    model = SETTINGS.model(name)
    fields = ("path", "revision", "family", "dtype", "device", "batch_size")
    return {field: getattr(model, field) for field in fields}


def existing(*paths):
    """The paths that are there: a dry run needs neither data nor weights, a real run says which
    are missing when the step that reads them starts."""
    return [path for path in paths if Path(path).exists()]


def model_files(wildcards):
    """A local checkpoint's files; none for a hub id, whose revision is pinned in the config."""
    folder = Path(SETTINGS.model(wildcards.model).path)
    return existing(
        *sorted(str(path) for path in folder.glob("*.json")),
        *sorted(str(path) for path in folder.glob("*.safetensors")),
    )


def task_images(wildcards):
    """The folder of the images that a task shows to the model."""
    if wildcards.task == "ocr":
        return f"{RUN}/benchmark/ocr_images"
    if SETTINGS.data.toy_scenes:
        return SETTINGS.data.image_folder
    return existing(SETTINGS.data.image_folder)


def image_folder(task):
    return (
        f"{RUN}/benchmark/ocr_images" if task == "ocr" else SETTINGS.data.image_folder
    )


def instances(wildcards):
    return f"{RUN}/benchmark/instances/{wildcards.task}.parquet"
