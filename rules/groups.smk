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
        f"{RUN}/logs/predict_group_masked/{job_name()}{MASKING_JOB}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_group_masked/{job_name()}{MASKING_JOB}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(lambda wc: groups_section(wc.model, image_folder(wc.task))),
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


rule predict_selectivity:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "groups", "dominant")),
    output:
        **job_outputs("selectivity_predictions"),
    log:
        f"{RUN}/logs/predict_selectivity/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_selectivity/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: {
                **groups_section(wc.model, image_folder(wc.task)),
                "random_trials": SETTINGS.groups.selectivity_trials,
            }
        ),
        code=job_code("predict_selectivity"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_selectivity.py"


if "caption" in TASKS:

    rule predict_text_erased:
        input:
            model_files,
            erased_images,
            instances=f"{RUN}/benchmark/instances/caption.parquet",
            erased=f"{RUN}/benchmark/text_erased_images.parquet",
            groups=f"{RUN}/{{model}}/overlap_groups.parquet",
        output:
            f"{RUN}/{{model}}/caption/text_erased_predictions.parquet",
        log:
            f"{RUN}/logs/predict_text_erased/{{model}}.log",
        benchmark:
            f"{RUN}/benchmarks/predict_text_erased/{{model}}.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            cfg=lambda wc: groups_section(
                wc.model, f"{RUN}/benchmark/text_erased_images"
            ),
            code=code("predict_text_erased", "caption"),
            env=versions(*MODEL_PACKAGES),
        script:
            "../workflow_scripts/predict_text_erased.py"

    rule tabulate_text_erasure:
        input:
            base=per_model("caption/base_predictions"),
            original=per_model("caption/group_predictions"),
            erased=per_model("caption/text_erased_predictions"),
            groups=per_model("overlap_groups"),
            paper=f"{PAPER}/caption_text_erasure.csv",
        output:
            shown(expand(f"{RUN}/tables/text_erasure.{{format}}", format=FORMATS)),
        log:
            f"{RUN}/logs/tabulate_text_erasure.log",
        benchmark:
            f"{RUN}/benchmarks/tabulate_text_erasure.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            cfg=table_section(compare_with=COMPARE_WITH),
            code=code("tabulate_text_erasure", "caption"),
            env=versions(*TABLE_PACKAGES),
        script:
            "../workflow_scripts/tabulate_text_erasure.py"


rule tabulate_selectivity:
    input:
        base=per_task("base_predictions"),
        masked=per_task("selectivity_predictions"),
        groups=per_model("overlap_groups"),
        dominant=per_model("dominant_groups"),
        records=f"{RUN}/benchmark/records.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
        pools=f"{RUN}/benchmark/retrieval_pools.parquet" if "retrieval" in TASKS else [],
    output:
        *shown(
            expand(
                f"{RUN}/tables/{{table}}.{{format}}",
                table=["selectivity", "selectivity_index", "selectivity_by_kind"],
                format=FORMATS[1:],
            )
        ),
        selectivity=f"{RUN}/tables/selectivity.parquet",
        selectivity_index=f"{RUN}/tables/selectivity_index.parquet",
        selectivity_by_kind=f"{RUN}/tables/selectivity_by_kind.parquet",
    log:
        f"{RUN}/logs/tabulate_selectivity.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_selectivity.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=table_section(),
        code=code("tabulate_selectivity"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_selectivity.py"


rule plot_selectivity:
    input:
        f"{RUN}/tables/selectivity.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/selectivity", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_selectivity/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_selectivity/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("plot_selectivity"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_selectivity.py"
