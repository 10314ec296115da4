# How the drop grows with the number of heads, and of neurons, that are silenced.


rule predict_head_budget:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "heads")),
    output:
        **job_outputs("head_budget_predictions"),
    log:
        f"{RUN}/logs/predict_head_budget/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_head_budget/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=image_folder(wc.task),
                budgets=SETTINGS.heads.budgets,
                positions=SETTINGS.heads.positions,
            )
        ),
        code=job_code("predict_head_budget"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_head_budget.py"


rule predict_ratio_masked:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "ranking")),
    output:
        **job_outputs("ratio_predictions"),
    log:
        f"{RUN}/logs/predict_ratio_masked/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_ratio_masked/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=image_folder(wc.task),
                ratios=SETTINGS.masking.ratios,
                rankers=swept_rankers(wc.model),
            )
        ),
        code=job_code("predict_ratio_masked"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_ratio_masked.py"


rule tabulate_sweeps:
    input:
        base=per_task("base_predictions"),
        heads=per_task("head_budget_predictions"),
        ratios=per_task("ratio_predictions"),
    output:
        *shown(
            expand(
                f"{RUN}/tables/{{table}}.{{format}}",
                table=["head_budget", "ratio_drop"],
                format=FORMATS[1:],
            )
        ),
        head_budget=f"{RUN}/tables/head_budget.parquet",
        ratio_drop=f"{RUN}/tables/ratio_drop.parquet",
    log:
        f"{RUN}/logs/tabulate_sweeps.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_sweeps.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=table_section(),
        code=code("tabulate_sweeps"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_sweeps.py"


rule plot_head_budget:
    input:
        f"{RUN}/tables/head_budget.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/head_budget", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_head_budget/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_head_budget/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("plot_head_budget"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_head_budget.py"


rule plot_ratio_drop:
    input:
        f"{RUN}/tables/ratio_drop.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/ratio_drop", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_ratio_drop/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_ratio_drop/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("plot_ratio_drop"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_ratio_drop.py"
