# Every ranker on every model, also on those that the default run compares fewer on. Not part of the
# default target: snakemake rankers_full

FULL_TABLES = f"{RUN}/tables/rankers_full"


use rule rank_neurons as rank_neurons_full with:
    input:
        unpack(lambda wc: ranker_artifacts(wc, full=True)),
    output:
        f"{RUN}/{{model}}/{{task}}/full_neuron_ranking.parquet",
    log:
        f"{RUN}/logs/rank_neurons_full/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/rank_neurons_full/{{model}}/{{task}}.tsv"
    params:
        cfg=lambda wc: ranking_section(wc, full=True),
        code=task_code("rank_neurons"),
        env=versions(*TABLE_PACKAGES),


use rule predict_masked as predict_masked_full with:
    input:
        model_files,
        unpack(job_inputs("images", "instances", ranking="full_ranking")),
    output:
        **job_outputs("full_masked_predictions"),
    log:
        f"{RUN}/logs/predict_masked_full/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_masked_full/{job_name()}.tsv"
    params:
        cfg=job_params(masking_section),
        shards=1,
        code=job_code("predict_masked"),
        env=versions(*MODEL_PACKAGES),


use rule tabulate_masking as tabulate_masking_full with:
    input:
        base=per_task("base_predictions"),
        masked=full_or_only("masked_predictions"),
        vqa=vqa_instances,
        paper_drop=[
            f"{PAPER}/masking_relative_drop_percent.csv",
            f"{PAPER}/masking_vqa_other_rankers.csv",
        ],
        paper_score=f"{PAPER}/masking_absolute_score.csv",
    output:
        *expand(
            f"{FULL_TABLES}/masking_{{kind}}.{{format}}",
            kind=["drop", "score"],
            format=FORMATS[1:],
        ),
        drop=f"{FULL_TABLES}/masking_drop.parquet",
        score=f"{FULL_TABLES}/masking_score.parquet",
    log:
        f"{RUN}/logs/tabulate_masking_full.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_masking_full.tsv"
