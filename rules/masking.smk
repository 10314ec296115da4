# What the test split loses when the top neurons of each ranker are silenced.


rule predict_masked:
    input:
        model_files,
        images=task_images,
        instances=instances,
        ranking=f"{RUN}/{{model}}/{{task}}/neuron_ranking.parquet",
    output:
        f"{RUN}/{{model}}/{{task}}/masked_predictions.parquet",
    log:
        f"{RUN}/logs/predict_masked/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_masked/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            decoding=SETTINGS.decoding,
            image_folder=image_folder(wc.task),
            top_ratio=SETTINGS.masking.top_ratio,
        ),
        code=lambda wc: code("predict_masked", wc.task),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_masked.py"
