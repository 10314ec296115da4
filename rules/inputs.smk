# The files that steps read, where several rules read them or they depend on the configuration.


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
    """The folder of the untouched images, where a step makes it. A data set's own folder is no
    input: it says nothing of its files, and Snakemake's cache takes none."""
    return SETTINGS.data.image_folder if SETTINGS.data.toy_scenes else []


def task_images(wildcards):
    """The folder of the images that a task shows to the model."""
    if wildcards.task == "ocr":
        return shards("ocr_images")
    return photographs(wildcards)


def folders_of_images(wildcards):
    """The folders of all tasks' images."""
    ocr = shards("ocr_images") if "ocr" in TASKS else []
    found = photographs(wildcards)
    return [*ocr, *([found] if isinstance(found, str) else found)]


def instances(wildcards):
    return f"{RUN}/benchmark/instances/{wildcards.task}.parquet"


def vqa_instances(wildcards):
    """The instances with VQA's answers, which its second score compares with."""
    return [f"{RUN}/benchmark/instances/vqa.parquet"] if "vqa" in TASKS else []


def instance_sources(wildcards):
    """What only this task's instances are made of."""
    if wildcards.task == "ocr":
        return {"ocr_images": f"{RUN}/benchmark/ocr_images.parquet"}
    if wildcards.task == "retrieval":
        return {"pools": f"{RUN}/benchmark/retrieval_pools.parquet"}
    return {}


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


def erased_images(wildcards):
    """The folders of the images without their texts."""
    return shards("text_erased_images")


def per_task(artifact):
    """One artifact of every model and task, model by model, as `models` of a table lists them."""
    return expand(
        f"{RUN}/{{model}}/{{task}}/{artifact}.parquet", model=BY_NAME, task=TASKS
    )


def full_or_only(artifact):
    """The artifact of every ranker, model by model: the full one where the run compares fewer."""
    fewer = [model for model in MODELS if SETTINGS.model(model).rankers is not None]
    return [
        f"{RUN}/{model}/{task}/{'full_' if model in fewer else ''}{artifact}.parquet"
        for model in BY_NAME
        for task in TASKS
    ]


def efficiency_files(name):
    """A file of every model's efficiency, measured on the task that all methods apply to."""
    return expand(f"{RUN}/{{model}}/{TOKEN_LEVEL[0]}/efficiency/{name}", model=BY_NAME)


def per_model(artifact):
    return expand(f"{RUN}/{{model}}/{artifact}.parquet", model=BY_NAME)


def per_ood_set(artifact, sets):
    """One artifact of every model and set, as `per_task` lists those of tasks."""
    return expand(
        f"{RUN}/{{model}}/ood/{{ood_set}}/{artifact}.parquet",
        model=BY_NAME,
        ood_set=sets,
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


def ood_instance_sources(wildcards):
    ood_set = OOD_SETS[wildcards.ood_set]
    sources = {"ood_items": f"{RUN}/benchmark/ood/items/{ood_set.dataset}.parquet"}
    if ood_set.task == "retrieval":
        sources["pools"] = f"{RUN}/benchmark/ood/retrieval_pools.parquet"
    return sources


# Sets whose in-domain task is run: its scales are tried on them.
STEERED_SETS = sets_in_run(OOD_SETS, TASKS)


def in_domain(artifact):
    """An artifact of the task whose scales are tried on the set."""

    def file(wildcards):
        task = OOD_SETS[wildcards.ood_set].in_domain_task
        return f"{RUN}/{wildcards.model}/{task}/{artifact}.parquet"

    return file
