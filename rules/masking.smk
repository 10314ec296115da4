# What the test split loses when the top neurons of each ranker are silenced.


rule predict_masked:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "ranking")),
    output:
        **job_outputs("masked_predictions", shard=MASKING_JOB),
    log:
        f"{RUN}/logs/predict_masked/{job_name()}{MASKING_JOB}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_masked/{job_name()}{MASKING_JOB}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(masking_section),
        shards=SETTINGS.masking.shards,
        code=job_code("predict_masked"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_masked.py"


if SETTINGS.masking.shards > 1:

    rule gather_masked_predictions:
        input:
            expand(
                f"{RUN}/{{{{model}}}}/{{{{task}}}}/masked_predictions/{{shard}}.parquet",
                shard=range(SETTINGS.masking.shards),
            ),
        output:
            f"{RUN}/{{model}}/{{task}}/masked_predictions.parquet",
        log:
            f"{RUN}/logs/gather_masked_predictions/{{model}}/{{task}}.log",
        benchmark:
            f"{RUN}/benchmarks/gather_masked_predictions/{{model}}/{{task}}.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            code=code("gather_masked_predictions"),
            env=versions(*TABLE_PACKAGES),
        script:
            "../workflow_scripts/gather_masked_predictions.py"
