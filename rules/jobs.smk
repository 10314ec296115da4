# Jobs that run a model: one for a task (or an out-of-distribution set), or one for all of a model.


def ood_images(wildcards):
    """The image folder of a set's data set."""
    folder = getattr(OOD, OOD_SETS[wildcards.ood_set].dataset).image_folder
    return folder if SHIFTED_TOY else existing(folder)


def every_scale(wildcards):
    """The scales of all tasks on the model: each task is also run under those of the others."""
    return [f"{RUN}/{wildcards.model}/{task}/steering_scales.parquet" for task in TASKS]


# What a job that runs a model works on: the values of a wildcard, and where their artifacts lie.
EVERY_TASK = ("task", TASKS)
EVERY_OOD_SET = ("ood_set", GROUP_SETS)
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
        return digests(script, task)

    def of_job(wildcards):
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

    return of_job
