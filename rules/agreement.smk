# How much the rankers agree with one another, and with themselves on other samples.


rule tabulate_agreement:
    input:
        rankings=per_task("neuron_ranking"),
    output:
        shown(expand(f"{RUN}/tables/ranker_agreement.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_agreement.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_agreement.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            tasks=TASKS,
            models=BY_NAME,
            top_ratio=SETTINGS.masking.top_ratio,
        ),
        code=code("tabulate_agreement"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_agreement.py"


rule plot_agreement:
    input:
        f"{RUN}/tables/ranker_agreement.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/ranker_agreement", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_agreement/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_agreement/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("plot_agreement"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_agreement.py"


rule measure_stability:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "heads")),
    output:
        **job_outputs("ranker_stability"),
    log:
        f"{RUN}/logs/measure_stability/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_stability/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(stability_section),
        code=job_code("measure_stability"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_stability.py"


rule tabulate_stability:
    input:
        stability=per_task("ranker_stability"),
    output:
        shown(expand(f"{RUN}/tables/stability.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_stability.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_stability.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            tasks=TASKS,
            models=BY_NAME,
            top_ratio=SETTINGS.masking.top_ratio,
        ),
        code=code("tabulate_stability"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_stability.py"
