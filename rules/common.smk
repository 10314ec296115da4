# What all rules share. The configuration is checked here, and `params` are made of it.
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
    from hones_core.tasks.instances import TASK_NAMES
    from hones_core.tasks.ood_sets import OOD_DATASETS, OOD_SETS
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"{error} in {sys.executable}: run `make env` and then .venv/bin/snakemake, "
        "or install envs/requirements.txt there"
    ) from None

# Files of the command line are laid over the Snakefile's, but Snakemake lists them first.
CONFIG_FILES = sorted(
    workflow.configfiles, key=lambda file: file in workflow.overwrite_configfiles
)
try:
    SETTINGS = load_settings(config, CONFIG_FILES)
except SettingsError as error:
    raise WorkflowError(str(error)) from None
if unusable_folder("results"):
    raise WorkflowError(unusable_folder("results"))

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
    bounds = ("min_pixels", "max_pixels")
    return {field: getattr(model, field) for field in fields + bounds}


def head_screening(model):
    """What screening depends on, or None: the other measurements know no ranking."""
    heads = SETTINGS.heads
    if heads.screening is None:
        return None
    top_heads = SETTINGS.model(model).top_heads
    return {**plain(heads.screening), "utility": heads.utility, "top_heads": top_heads}


def existing(*paths):
    """The paths that are there: a dry run needs neither data nor weights, a real run says which
    are missing when the step that reads them starts."""
    return [path for path in paths if Path(path).exists()]


def model_files(wildcards):
    """A local checkpoint's files; none for a hub id, whose revision is pinned in the config."""
    folder = Path(SETTINGS.model(wildcards.model).path)
    return existing(
        *sorted(str(path) for path in folder.glob("*.json")),
        *sorted(str(path) for path in folder.glob("*.jinja")),
        *sorted(str(path) for path in folder.glob("*.safetensors")),
    )


def official_files(wildcards):
    """The annotation files; those that are missing are named by the step that reads them."""
    data = SETTINGS.data
    files = [data.captions, data.coco_text, data.vqa_questions, data.vqa_annotations]
    return files if data.toy_scenes else existing(*files)


def coco_text_file(wildcards):
    file = SETTINGS.data.coco_text
    return file if SETTINGS.data.toy_scenes else existing(file)


def shards(folder, suffix=""):
    """The subfolders (or with `.parquet` the manifests) of the jobs that share `folder`."""
    count = SETTINGS.benchmark.image_shards
    return [f"{RUN}/benchmark/{folder}/{shard}{suffix}" for shard in range(count)]


def photographs(wildcards):
    """The folder of the untouched images."""
    folder = SETTINGS.data.image_folder
    return folder if SETTINGS.data.toy_scenes else existing(folder)


def task_images(wildcards):
    """The folder of the images that a task shows to the model."""
    if wildcards.task == "ocr":
        return shards("ocr_images")
    return photographs(wildcards)


def image_folder(task):
    return (
        f"{RUN}/benchmark/ocr_images" if task == "ocr" else SETTINGS.data.image_folder
    )


def folders_of_images(wildcards):
    """The folders of all tasks' images."""
    ocr = shards("ocr_images") if "ocr" in TASKS else []
    found = photographs(wildcards)
    return [*ocr, *([found] if isinstance(found, str) else found)]


def instances(wildcards):
    return f"{RUN}/benchmark/instances/{wildcards.task}.parquet"


def instance_sources(wildcards):
    """What only this task's instances are made of."""
    if wildcards.task == "ocr":
        return {"ocr_images": f"{RUN}/benchmark/ocr_images.parquet"}
    if wildcards.task == "retrieval":
        return {"pools": f"{RUN}/benchmark/retrieval_pools.parquet"}
    return {}


def ood_images(wildcards):
    """The image folder of a set's data set."""
    folder = getattr(OOD, OOD_SETS[wildcards.ood_set].dataset).image_folder
    return folder if SHIFTED_TOY else existing(folder)


def every_scale(wildcards):
    """The scales of all tasks on the model: each task is also run under those of the others."""
    return [f"{RUN}/{wildcards.model}/{task}/steering_scales.parquet" for task in TASKS]


# What a job that runs a model works on: the values of a wildcard, and where their artifacts lie.
EVERY_TASK = ("task", TASKS)
EVERY_OOD_SET = ("ood_set", [name for name in SETTINGS.groups.ood_sets if in_run(name)])
JOB_FOLDERS = {"task": "{task}", "ood_set": f"ood{os.sep}{{ood_set}}"}

# What such a job may read for each value.
JOB_INPUTS = {
    "images": task_images,
    "instances": f"{RUN}/benchmark/instances/{{task}}.parquet",
    "heads": f"{RUN}/{{model}}/{{task}}/head_ranking.parquet",
    "ranking": f"{RUN}/{{model}}/{{task}}/neuron_ranking.parquet",
    "full_ranking": f"{RUN}/{{model}}/{{task}}/full_neuron_ranking.parquet",
    "groups": f"{RUN}/{{model}}/overlap_groups.parquet",
    "dominant": f"{RUN}/{{model}}/dominant_groups.parquet",
    "every_scale": every_scale,
    "ood_images": ood_images,
    "ood_instances": f"{RUN}/benchmark/ood/instances/{{ood_set}}.parquet",
}


def job_name(wildcard="task"):
    """What a job's log and benchmark are named by."""
    return "{model}" if PER_MODEL else f"{{model}}{os.sep}{JOB_FOLDERS[wildcard]}"


def job_values(wildcards, over):
    """Each value the job works on, with its model, as the wildcards of a job of its own would be."""
    wildcard, values = over
    chosen = values if PER_MODEL else [wildcards[wildcard]]
    return {
        value: SimpleNamespace(model=wildcards.model, **{wildcard: value})
        for value in chosen
    }


def job_inputs(*names, over=EVERY_TASK, **others):
    """What the job reads for each of its values, as {name}_{value}; `others` have another name."""

    def path(name, one):
        source = JOB_INPUTS[name]
        return source(one) if callable(source) else source.format(**vars(one))

    return lambda wildcards: {
        f"{name}_{value}": path(source, one)
        for value, one in job_values(wildcards, over).items()
        for name, source in {**dict(zip(names, names)), **others}.items()
    }


def job_outputs(*artifacts, over=EVERY_TASK, shard=""):
    """The job's artifacts: {artifact}_{value} of each value, or {artifact} of its only one."""
    wildcard, values = over
    pattern = f"{RUN}/{{model}}/{JOB_FOLDERS[wildcard]}"
    if not PER_MODEL:
        return {name: f"{pattern}/{name}{shard}.parquet" for name in artifacts}
    folders = {value: pattern.replace(f"{{{wildcard}}}", value) for value in values}
    return {
        f"{name}_{value}": f"{folder}/{name}{shard}.parquet"
        for name in artifacts
        for value, folder in folders.items()
    }


def job_params(make, over=EVERY_TASK):
    """{value: what its part of the job depends on}."""
    return lambda wildcards: {
        value: make(one) for value, one in job_values(wildcards, over).items()
    }


def job_code(script, over=EVERY_TASK):
    """Digests of the code that the job runs: what its values share, and {value: its own task's}."""

    def digest(one):
        task = OOD_SETS[one.ood_set].task if hasattr(one, "ood_set") else one.task
        return code(script, task)

    def digests(wildcards):
        of_value = {
            value: digest(one) for value, one in job_values(wildcards, over).items()
        }
        files = set.intersection(*(set(found) for found in of_value.values()))
        first = next(iter(of_value.values()))
        own = {
            value: {name: found[name] for name in found if name not in files}
            for value, found in of_value.items()
        }
        return {
            "shared": {name: first[name] for name in first if name in files},
            **own,
        }

    return digests


def rankers_of(wildcards, full=False):
    """The rankers to compare on the model that apply to the task; `full`: not only its own list."""
    names = SETTINGS.neurons.rankers if full else SETTINGS.rankers_of(wildcards.model)
    return applicable(names, wildcards.task, TASKS)


def ranker_artifacts(wildcards, full=False):
    """What the task's rankers read, and nothing that none of them asks for."""
    rankers = rankers_of(wildcards, full)
    folder = f"{RUN}/{wildcards.model}"
    files = {
        name: f"{folder}/{wildcards.task}/{name}.parquet"
        for name in artifacts_for(rankers)
    }
    if compares_tasks(rankers):
        files["every_task"] = [
            f"{folder}/{task}/activation_statistics.parquet" for task in TASKS
        ]
    return files


def random_seeds(ranker):
    """The seeds of a random ranker."""
    neurons = SETTINGS.neurons
    counts = {"random": neurons.random_seeds, "rand_head": neurons.random_head_seeds}
    return [SETTINGS.seed + offset for offset in range(counts[ranker])]


def ranking_section(wildcards, full=False):
    """What the order of the task's neurons depends on: the options of its own rankers."""
    rankers, neurons = rankers_of(wildcards, full), SETTINGS.neurons
    options = {
        "ma": ("absolute_mean", neurons.ma_absolute),
        "qrnca": ("max_query_share", neurons.qrnca.max_query_share),
    }
    return section(
        rankers=rankers,
        tasks=TASKS if compares_tasks(rankers) else [],
        seeds={
            name: random_seeds(name)
            for name in ("random", "rand_head")
            if name in rankers
        },
        options=dict(options[name] for name in options if name in rankers),
    )


def neuron_effects_section(wildcards):
    """What measuring the effects of heads on neurons depends on."""
    return section(
        model=model_section(wildcards.model),
        engine=SETTINGS.engine,
        image_folder=image_folder(wildcards.task),
        samples=getattr(SETTINGS.neurons.samples, wildcards.task),
        positions=SETTINGS.heads.positions,
        clip=SETTINGS.neurons.clip,
        idf_tokens=SETTINGS.neurons.idf_tokens,
    )


def masking_section(wildcards):
    """What predictions with each ranker's top neurons silenced depend on."""
    return section(
        model=model_section(wildcards.model),
        engine=SETTINGS.engine,
        decoding=SETTINGS.decoding,
        image_folder=image_folder(wildcards.task),
        top_ratio=SETTINGS.masking.top_ratio,
    )


def groups_section(model, folder):
    """What predictions with overlap groups and random sets silenced depend on."""
    return section(
        model=model_section(model),
        engine=SETTINGS.engine,
        decoding=SETTINGS.decoding,
        image_folder=folder,
        tasks=TASKS,
        random_trials=SETTINGS.groups.random_trials,
        random_control=SETTINGS.groups.random_control,
        seed=SETTINGS.seed,
    )


def erased_images(wildcards):
    """The folders of the images without their texts."""
    return shards("text_erased_images")


def stability_section(wildcards):
    """What the stability of the rankers' orders depends on: the options of its own rankers."""
    neurons, stability = SETTINGS.neurons, SETTINGS.stability
    own = SETTINGS.model(wildcards.model).rankers
    rankers = [
        name
        for name in applicable(stability.rankers, wildcards.task, TASKS)
        if own is None or name in own
    ]
    own = {
        "ma": {"absolute_mean": neurons.ma_absolute},
        "qrnca": {"max_query_share": neurons.qrnca.max_query_share},
    }
    measured = {
        "group_patching": neurons.group_patching,
        "qrnca": neurons.qrnca,
        "llm_knowledge": neurons.llm_knowledge,
    }
    return section(
        **neuron_effects_section(wildcards),
        **{name: value for name, value in measured.items() if name in rankers},
        rankers=rankers,
        parts=stability.parts,
        draws=stability.draws,
        top_ratio=SETTINGS.masking.top_ratio,
        seed=SETTINGS.seed,
        aggregate=neurons.aggregate,
        activation=neurons.activation,
        threshold=neurons.activation_threshold,
        options={
            key: value
            for name in own
            if name in rankers
            for key, value in own[name].items()
        },
    )


def token_level_section(wildcards, **more):
    """What a measurement depends on that is supervised by the answer's first token."""
    neurons = SETTINGS.neurons
    return section(
        model=model_section(wildcards.model),
        image_folder=image_folder(wildcards.task),
        samples=neurons.token_level_samples or getattr(neurons.samples, wildcards.task),
        **more,
    )


def per_task(artifact):
    """One artifact of every model and task, model by model, as `compare_with` names them."""
    return expand(
        f"{RUN}/{{model}}/{{task}}/{artifact}.parquet", model=BY_NAME, task=TASKS
    )


def full_or_only(artifact):
    """The artifact of every ranker, model by model: the full one where the run compares fewer."""
    fewer = [model for model in MODELS if SETTINGS.model(model).rankers is not None]
    return [
        f"{RUN}/{model}/{task}/{'full_' if model in fewer else ''}{artifact}.parquet"
        for model in MODELS
        for task in TASKS
    ]


def efficiency_files(name):
    """A file of every model's efficiency, measured on the task that all methods apply to."""
    return expand(f"{RUN}/{{model}}/{TOKEN_LEVEL[0]}/efficiency/{name}", model=BY_NAME)


def per_model(artifact):
    return expand(f"{RUN}/{{model}}/{artifact}.parquet", model=BY_NAME)


def table_section():
    """What every table depends on."""
    return section(
        tasks=TASKS,
        compare_with={model.name: model.compare_with for model in SETTINGS.models},
        bootstrap_resamples=SETTINGS.masking.bootstrap_resamples,
        seed=SETTINGS.seed,
    )


def ood_file(dataset):
    """The annotation file of a data set."""
    source = getattr(OOD, dataset)
    return source.captions if dataset == "flickr30k" else source.questions


def ood_source(wildcards):
    file = ood_file(wildcards.dataset)
    return file if SHIFTED_TOY else existing(file)


def shifted_toy_files(wildcards):
    """The toy's files, which have to be drawn before they can be checked."""
    return [ood_file(dataset) for dataset in OOD_DATASETS] if SHIFTED_TOY else []


def ood_choice(dataset):
    """What the items of a data set depend on."""
    names = ("captions", "questions", "split", "n_images", "questions_per_image")
    source = getattr(OOD, dataset)
    chosen = {name: getattr(source, name) for name in names if hasattr(source, name)}
    return section(seed=OOD.seed, **chosen)


def ood_instance_sources(wildcards):
    ood_set = OOD_SETS[wildcards.ood_set]
    sources = {"ood_items": f"{RUN}/benchmark/ood/items/{ood_set.dataset}.parquet"}
    if ood_set.task == "retrieval":
        sources["pools"] = f"{RUN}/benchmark/ood/retrieval_pools.parquet"
    return sources


# Sets whose in-domain task is run: its scales are tried on them.
STEERED_SETS = [name for name in OOD_SETS if in_run(name)]


def in_domain(artifact):
    """An artifact of the task whose scales are tried on the set."""

    def file(wildcards):
        task = OOD_SETS[wildcards.ood_set].in_domain_task
        return f"{RUN}/{wildcards.model}/{task}/{artifact}.parquet"

    return file
