# Base predictions, and which attention heads each task needs.


rule predict_base:
    input:
        model_files,
        unpack(job_inputs("images", "instances")),
    output:
        **job_outputs("base_predictions"),
    log:
        f"{RUN}/logs/predict_base/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_base/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=image_folder(wc.task),
            )
        ),
        code=job_code("predict_base"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_base.py"


if APART[1]:

    rule measure_head_effects:
        input:
            model_files,
            unpack(job_inputs("images", "instances", over=APART)),
        output:
            **job_outputs("head_effects", over=APART, shard=HEADS_JOB),
        log:
            f"{RUN}/logs/measure_head_effects/{job_name()}{HEADS_JOB}.log",
        wildcard_constraints:
            task="|".join(task for task in TASK_NAMES if task not in JOINT_TASKS),
        cache: workflow.enable_cache
        conda:
            "../envs/hones.yaml"
        params:
            of=own_values,
            cfg=job_params(
                lambda wc: section(
                    model=model_section(wc.model),
                    engine=SETTINGS.engine,
                    decoding=SETTINGS.decoding,
                    image_folder=image_folder(wc.task),
                    samples=SETTINGS.heads.samples.get(wc.task),
                    positions=SETTINGS.heads.positions,
                    screening=head_screening(wc.model),
                ),
                over=APART,
            ),
            shards=SETTINGS.heads.shards,
            code=job_code("measure_head_effects", over=APART),
            env=versions(*MODEL_PACKAGES),
        script:
            "../workflow_scripts/measure_head_effects.py"


if JOINT_TASKS:

    rule measure_joint_head_effects:
        input:
            model_files,
            photographs,
            **{
                task: f"{RUN}/benchmark/instances/{task}.parquet"
                for task in JOINT_TASKS
            },
        output:
            **{
                task: f"{RUN}/{{model}}/{task}/head_effects{HEADS_JOB}.parquet"
                for task in JOINT_TASKS
            },
        log:
            f"{RUN}/logs/measure_joint_head_effects/{{model}}{HEADS_JOB}.log",
        cache: workflow.enable_cache
        conda:
            "../envs/hones.yaml"
        params:
            of=own_values,
            cfg=lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=SETTINGS.data.image_folder,
                samples={
                    task: SETTINGS.heads.samples.get(task) for task in JOINT_TASKS
                },
                positions=SETTINGS.heads.positions,
            ),
            shards=SETTINGS.heads.shards,
            code=code("measure_joint_head_effects", *JOINT_TASKS),
            env=versions(*MODEL_PACKAGES),
        script:
            "../workflow_scripts/measure_joint_head_effects.py"


if SETTINGS.heads.shards > 1:

    rule gather_head_effects:
        input:
            expand(
                f"{RUN}/{{{{model}}}}/{{{{task}}}}/head_effects/{{shard}}.parquet",
                shard=range(SETTINGS.heads.shards),
            ),
        output:
            f"{RUN}/{{model}}/{{task}}/head_effects.parquet",
        log:
            f"{RUN}/logs/gather_head_effects/{{model}}/{{task}}.log",
        benchmark:
            f"{RUN}/benchmarks/gather_head_effects/{{model}}/{{task}}.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            code=code("gather_head_effects"),
            env=versions(*TABLE_PACKAGES),
        script:
            "../workflow_scripts/gather_head_effects.py"


rule rank_heads:
    input:
        effects=f"{RUN}/{{model}}/{{task}}/head_effects.parquet",
    output:
        f"{RUN}/{{model}}/{{task}}/head_ranking.parquet",
    log:
        f"{RUN}/logs/rank_heads/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/rank_heads/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            utility=SETTINGS.heads.utility,
            top_heads=SETTINGS.model(wc.model).top_heads,
            screening=SETTINGS.heads.screening is not None,
        ),
        code=task_code("rank_heads"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/rank_heads.py"
