# Tables, each beside the paper's figures, and figures.


rule tabulate_masking:
    input:
        base=per_task("base_predictions"),
        masked=per_task("masked_predictions"),
        vqa=vqa_instances,
        paper_drop=[
            f"{PAPER}/masking_relative_drop_percent.csv",
            f"{PAPER}/masking_vqa_other_rankers.csv",
        ],
        paper_score=f"{PAPER}/masking_absolute_score.csv",
    output:
        *shown(
            expand(
                f"{RUN}/tables/masking_{{kind}}.{{format}}",
                kind=["drop", "score"],
                format=FORMATS[1:],
            )
        ),
        drop=f"{RUN}/tables/masking_drop.parquet",
        score=f"{RUN}/tables/masking_score.parquet",
    log:
        f"{RUN}/logs/tabulate_masking.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_masking.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=table_section(compare_with=COMPARE_WITH),
        code=code("tabulate_masking"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_masking.py"


rule tabulate_efficiency:
    input:
        work=efficiency_files("token_layers.parquet"),
        seconds=efficiency_files("seconds.csv"),
        paper=f"{PAPER}/localization_seconds_per_instance.csv",
    output:
        csv=shown(f"{RUN}/tables/efficiency.csv"),
        markdown=f"{RUN}/tables/efficiency.md",
    log:
        f"{RUN}/logs/tabulate_efficiency.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_efficiency.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(models=BY_NAME, compare_with=COMPARE_WITH),
        code=code("tabulate_efficiency"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_efficiency.py"


rule tabulate_groups:
    input:
        base=per_task("base_predictions"),
        masked=per_task("group_predictions"),
        groups=per_model("overlap_groups"),
        dominant=per_model("dominant_groups"),
        paper=f"{PAPER}/caption_text_erasure.csv",
    output:
        shown(expand(f"{RUN}/tables/group_drop.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_groups.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_groups.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=table_section(compare_with=COMPARE_WITH),
        code=code("tabulate_groups"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_groups.py"


rule tabulate_steering:
    input:
        steered=per_task("steered_predictions"),
        side_effects=per_task("side_effect_predictions"),
        search=per_task("steering_search"),
        paper=f"{PAPER}/steering_score.csv",
        paper_bootstrap=f"{PAPER}/steering_bootstrap_delta_pp.csv",
    output:
        *shown(
            expand(
                f"{RUN}/tables/{{table}}.{{format}}",
                table=["steering", "steering_bootstrap", "steering_side_effects"],
                format=FORMATS[1:],
            )
        ),
        steering=f"{RUN}/tables/steering.parquet",
        pairs=f"{RUN}/tables/steering_bootstrap.parquet",
        side_effects=f"{RUN}/tables/steering_side_effects.parquet",
    log:
        f"{RUN}/logs/tabulate_steering.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_steering.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=table_section(compare_with=COMPARE_WITH),
        code=code("tabulate_steering"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_steering.py"


rule plot_head_scores:
    input:
        [f"{RUN}/{{model}}/{task}/head_ranking.parquet" for task in TASKS],
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/head_scores", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_head_scores/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_head_scores/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(tasks=TASKS),
        code=code("plot_head_scores"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_head_scores.py"


rule plot_layer_histogram:
    input:
        [f"{RUN}/{{model}}/{task}/neuron_ranking.parquet" for task in TASKS],
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/layer_histogram", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_layer_histogram/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_layer_histogram/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(tasks=TASKS, top_ratio=SETTINGS.masking.top_ratio),
        code=code("plot_layer_histogram"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_layer_histogram.py"


rule plot_group_drop:
    input:
        f"{RUN}/tables/group_drop.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/group_drop", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_group_drop/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_group_drop/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("plot_group_drop"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_group_drop.py"


rule plot_group_sizes:
    input:
        f"{RUN}/{{model}}/overlap_groups.parquet",
    output:
        shown(multiext(f"{RUN}/figures/{{model}}/group_sizes", ".svg", ".png")),
    log:
        f"{RUN}/logs/plot_group_sizes/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/plot_group_sizes/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(tasks=TASKS),
        code=code("plot_group_sizes"),
        env=versions("matplotlib"),
    script:
        "../workflow_scripts/plot_group_sizes.py"


rule tabulate_benchmark:
    input:
        records=f"{RUN}/benchmark/records.parquet",
        excluded=f"{RUN}/benchmark/excluded.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
    output:
        *shown(
            expand(
                f"{RUN}/tables/{{table}}.{{format}}",
                table=BENCHMARK_TABLES[:2],
                format=FORMATS[1:],
            )
        ),
        funnel=f"{RUN}/tables/benchmark_funnel.parquet",
        boxes=f"{RUN}/tables/box_sizes.parquet",
    log:
        f"{RUN}/logs/tabulate_benchmark.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_benchmark.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("tabulate_benchmark"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_benchmark.py"


rule tabulate_false_negatives:
    input:
        records=f"{RUN}/benchmark/records.parquet",
        pools=f"{RUN}/benchmark/retrieval_pools.parquet",
        embeddings=f"{RUN}/benchmark/caption_embeddings.parquet",
    output:
        shown(
            expand(
                f"{RUN}/tables/retrieval_false_negatives.{{format}}", format=FORMATS
            )
        ),
    log:
        f"{RUN}/logs/tabulate_false_negatives.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_false_negatives.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("tabulate_false_negatives"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_false_negatives.py"


rule tabulate_head_screening:
    input:
        effects=per_task("head_effects"),
    output:
        shown(expand(f"{RUN}/tables/head_screening.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_head_screening.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_head_screening.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            tasks=TASKS,
            models=BY_NAME,
            top_heads={model.name: model.top_heads for model in SETTINGS.models},
            utility=SETTINGS.heads.utility,
            screening=SETTINGS.heads.screening or {},
            simulated_z=[1, 2, 3],
            orders=100,
            seed=SETTINGS.seed,
        ),
        code=code("tabulate_head_screening"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_head_screening.py"


rule write_neuron_cards:
    input:
        model_files,
        folders_of_images,
        rankings=[f"{RUN}/{{model}}/{task}/neuron_ranking.parquet" for task in TASKS],
        effects=[f"{RUN}/{{model}}/{task}/neuron_effects.parquet" for task in TASKS],
        instances=expand(f"{RUN}/benchmark/instances/{{task}}.parquet", task=TASKS),
        groups=f"{RUN}/{{model}}/overlap_groups.parquet",
    output:
        directory(f"{RUN}/report/neurons/{{model}}"),
    log:
        f"{RUN}/logs/write_neuron_cards/{{model}}.log",
    benchmark:
        f"{RUN}/benchmarks/write_neuron_cards/{{model}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            tasks=TASKS,
            model=model_section(wc.model),
            samples=SETTINGS.report.card_samples,
        ),
        code=code("write_neuron_cards"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/write_neuron_cards.py"


rule write_report:
    input:
        folders_of_images,
        looks=[shipped(f"hones_core/report/page.{kind}") for kind in ("css", "js")],
        cards=expand(f"{RUN}/report/neurons/{{model}}", model=MODELS),
        groups=per_model("overlap_groups"),
        rankings=per_task("neuron_ranking"),
        tables=expand(
            f"{RUN}/tables/{{table}}.parquet", table=TABLES + BENCHMARK_TABLES
        ),
        efficiency=f"{RUN}/tables/efficiency.md" if TOKEN_LEVEL[0] in TASKS else [],
        planted=f"{RUN}/tables/planted_recovery.parquet",
        figures=expand(
            f"{RUN}/figures/{{model}}/{{figure}}.svg", model=MODELS, figure=FIGURES
        ),
        masked=per_task("masked_predictions"),
        steered=per_task("steered_predictions"),
        instances=expand(f"{RUN}/benchmark/instances/{{task}}.parquet", task=TASKS),
    output:
        f"{RUN}/report/index.html",
    log:
        f"{RUN}/logs/write_report.log",
    benchmark:
        f"{RUN}/benchmarks/write_report.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            tasks=TASKS,
            image_folders={task: image_folder(task) for task in TASKS},
            samples=SETTINGS.report.samples,
            models=BY_NAME,
            # a list keeps the order of the configuration, in which the page shows the models
            families=[[model.name, model.family] for model in SETTINGS.models],
            settings={
                model.name: f"{model.path}, revision {model.revision}, {model.dtype}, "
                f"{model.device}"
                for model in SETTINGS.models
            },
            seed=SETTINGS.seed,
        ),
        # Snakemake takes no change of what is derived from `output` for a reason to run: the page
        # shows the steps as they were when it was written
        reads=lambda wildcards, output: steps_behind(output[0]),
        code=code("write_report"),
        env=versions(*TABLE_PACKAGES, "pillow"),
    script:
        "../workflow_scripts/write_report.py"
