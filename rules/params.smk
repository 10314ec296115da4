# What steps depend on beside their inputs: the values that `params` are made of.


def section(**values):
    """The configuration values that one rule uses, as builtins in canonical order."""
    return plain(
        {
            name: plain(value) if hasattr(value, "model_dump") else value
            for name, value in values.items()
        }
    )


def digests(script, *tasks):
    """Digest of a script and all project code it imports; of tasks only these, or all."""
    others = [
        f"hones_core.tasks.{name}" for name in TASK_NAMES if tasks and name not in tasks
    ]
    return code_digest(f"workflow_scripts/{script}.py", without=others, root=ROOT)


def code(script, *tasks):
    """The digests as a parameter. A function, since each job's process reads all rules: Snakemake
    asks it for the jobs at hand only."""
    return lambda wildcards: digests(script, *tasks)


def task_code(script):
    """As `code`, of the job's own task."""
    return lambda wildcards: digests(script, wildcards.task)


def own_values(wildcards):
    """Model, task and shard of a job whose result workflows may share: Snakemake's cache knows a
    job by its parameters and inputs alone."""
    return dict(sorted(wildcards.items()))


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


def image_folder(task):
    return (
        f"{RUN}/benchmark/ocr_images" if task == "ocr" else SETTINGS.data.image_folder
    )


def rankers_of(wildcards, full=False):
    """The rankers to compare on the model that apply to the task; `full`: not only its own list."""
    names = SETTINGS.neurons.rankers if full else SETTINGS.rankers_of(wildcards.model)
    return applicable(names, wildcards.task, TASKS)


def swept_rankers(model):
    """Whose top neurons grow in number: HONES and, if the model has it, the random order."""
    return [name for name in ("hones", "random") if name in SETTINGS.rankers_of(model)]


def random_seeds(ranker):
    """The seeds of a random ranker."""
    count = SETTINGS.neurons.seeds_of[ranker]
    return [SETTINGS.seed + offset for offset in range(count)]


def ranker_options(rankers):
    """The options by which these rankers order what was measured."""
    neurons = SETTINGS.neurons
    options = {
        "ma": ("absolute_mean", neurons.ma_absolute),
        "qrnca": ("max_query_share", neurons.qrnca.max_query_share),
    }
    return dict(options[name] for name in options if name in rankers)


def ranking_section(wildcards, full=False):
    """What the order of the task's neurons depends on: the options of its own rankers."""
    rankers = rankers_of(wildcards, full)
    return section(
        rankers=rankers,
        tasks=TASKS if compares_tasks(rankers) else [],
        seeds={
            name: random_seeds(name)
            for name in ("random", "rand_head")
            if name in rankers
        },
        options=ranker_options(rankers),
    )


def neuron_effects_section(wildcards):
    """What measuring the effects of heads on neurons depends on."""
    return section(
        model=model_section(wildcards.model),
        engine=SETTINGS.engine,
        image_folder=image_folder(wildcards.task),
        samples=SETTINGS.neurons.samples.get(wildcards.task),
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


def stability_section(wildcards):
    """What the stability of the rankers' orders depends on: the options of its own rankers."""
    neurons, stability = SETTINGS.neurons, SETTINGS.stability
    compared = SETTINGS.model(wildcards.model).rankers  # None: all
    rankers = [
        name
        for name in applicable(stability.rankers, wildcards.task, TASKS)
        if compared is None or name in compared
    ]
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
        options=ranker_options(rankers),
    )


def token_level_section(wildcards, **more):
    """What a measurement depends on that is supervised by the answer's first token."""
    neurons = SETTINGS.neurons
    return section(
        model=model_section(wildcards.model),
        image_folder=image_folder(wildcards.task),
        samples=neurons.token_level_samples or neurons.samples.get(wildcards.task),
        **more,
    )


# The model of the paper that each model stands beside.
COMPARE_WITH = {model.name: model.compare_with for model in SETTINGS.models}


def table_section(**more):
    """What every table with intervals depends on."""
    return section(
        tasks=TASKS,
        models=BY_NAME,
        bootstrap_resamples=SETTINGS.masking.bootstrap_resamples,
        seed=SETTINGS.seed,
        **more,
    )


def ood_choice(dataset):
    """What the items of a data set depend on."""
    names = ("captions", "questions", "split", "n_images", "questions_per_image")
    source = getattr(OOD, dataset)
    chosen = {name: getattr(source, name) for name in names if hasattr(source, name)}
    return section(seed=OOD.seed, **chosen)
