# Overlap groups of the tasks' top sets, what each is worth, and each task's dominant group.


rule build_overlap_groups:
    input:
        **{task: f"{RUN}/{{model}}/{task}/neuron_ranking.parquet" for task in TASKS},
    output:
        f"{RUN}/{{model}}/overlap_groups.parquet",
    log:
        f"{RUN}/logs/build_overlap_groups/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/build_overlap_groups/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(tasks=TASKS, top_ratio=SETTINGS.masking.top_ratio),
        code=code("build_overlap_groups"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/build_overlap_groups.py"


rule predict_group_masked:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "groups")),
    output:
        **job_outputs("group_predictions", shard=MASKING_JOB),
    log:
        f"{RUN}/logs/predict_group_masked/{JOB}{MASKING_JOB}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_group_masked/{JOB}{MASKING_JOB}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=image_folder(wc.task),
                tasks=TASKS,
                random_trials=SETTINGS.groups.random_trials,
                random_control=SETTINGS.groups.random_control,
                seed=SETTINGS.seed,
            )
        ),
        shards=SETTINGS.masking.shards,
        code=job_code("predict_group_masked"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_group_masked.py"


if SETTINGS.masking.shards > 1:

    rule gather_group_predictions:
        input:
            expand(
                f"{RUN}/{{{{model}}}}/{{{{task}}}}/group_predictions/{{shard}}.parquet",
                shard=range(SETTINGS.masking.shards),
            ),
        output:
            f"{RUN}/{{model}}/{{task}}/group_predictions.parquet",
        log:
            f"{RUN}/logs/gather_group_predictions/{{model}}/{{task}}.log",
        benchmark:
            f"{RUN}/benchmarks/gather_group_predictions/{{model}}/{{task}}.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            code=code("gather_group_predictions"),
            env=versions(*TABLE_PACKAGES),
        script:
            "../workflow_scripts/gather_group_predictions.py"


rule select_dominant_groups:
    input:
        **{
            f"base_{task}": f"{RUN}/{{model}}/{task}/base_predictions.parquet"
            for task in TASKS
        },
        **{
            f"masked_{task}": f"{RUN}/{{model}}/{task}/group_predictions.parquet"
            for task in TASKS
        },
    output:
        f"{RUN}/{{model}}/dominant_groups.parquet",
    log:
        f"{RUN}/logs/select_dominant_groups/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/select_dominant_groups/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(tasks=TASKS, select_on=SETTINGS.groups.select_on),
        code=code("select_dominant_groups"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/select_dominant_groups.py"
