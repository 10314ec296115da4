# Logit lens: what each layer's FFN takes from the tokens when a task's groups are silenced.


rule measure_logit_lens:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "groups", "dominant")),
    output:
        **job_outputs("logit_lens_by_layer", "logit_lens_tokens"),
    log:
        f"{RUN}/logs/measure_logit_lens/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_logit_lens/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                image_folder=image_folder(wc.task),
                norm=SETTINGS.logit_lens.norm,
            )
        ),
        code=job_code("measure_logit_lens"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_logit_lens.py"


rule choose_lens_samples:
    input:
        **{
            f"{name}_{task}": path
            for task in TASKS
            for name, path in {
                "instances": f"{RUN}/benchmark/instances/{task}.parquet",
                "base": f"{RUN}/{{model}}/{task}/base_predictions.parquet",
                "masked": f"{RUN}/{{model}}/{task}/group_predictions.parquet",
            }.items()
        },
        groups=f"{RUN}/{{model}}/overlap_groups.parquet",
        dominant=f"{RUN}/{{model}}/dominant_groups.parquet",
    output:
        f"{RUN}/{{model}}/logit_lens_samples.parquet",
    log:
        f"{RUN}/logs/choose_lens_samples/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/choose_lens_samples/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            tasks=TASKS,
            family=SETTINGS.model(wc.model).family,
            samples=SETTINGS.logit_lens.samples,
            samples_per_task=SETTINGS.logit_lens.samples_per_task,
        ),
        code=code("choose_lens_samples"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/choose_lens_samples.py"


rule tabulate_logit_lens:
    input:
        by_layer=per_task("logit_lens_by_layer"),
        groups=per_model("overlap_groups"),
        dominant=per_model("dominant_groups"),
    output:
        shown(expand(f"{RUN}/tables/logit_lens.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_logit_lens.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_logit_lens.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=table_section(),
        code=code("tabulate_logit_lens"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_logit_lens.py"


rule plot_logit_lens:
    input:
        f"{RUN}/tables/logit_lens.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/logit_lens", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_logit_lens/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_logit_lens/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("plot_logit_lens"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_logit_lens.py"


rule plot_lens_samples:
    input:
        photographs,
        *(shards("ocr_images") if "ocr" in TASKS else []),
        **{
            f"tokens_{task}": f"{RUN}/{{model}}/{task}/logit_lens_tokens.parquet"
            for task in TASKS
        },
        samples=f"{RUN}/{{model}}/logit_lens_samples.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/logit_lens_samples", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_lens_samples/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_lens_samples/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            tasks=TASKS, image_folders={task: image_folder(task) for task in TASKS}
        ),
        code=code("plot_lens_samples"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_lens_samples.py"
