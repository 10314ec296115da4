# One learned scale per neuron of the bank, and what it does on test.


rule learn_steering_scales:
    input:
        model_files,
        images=task_images,
        instances=instances,
        groups=f"{RUN}/{{model}}/overlap_groups.parquet",
        dominant=f"{RUN}/{{model}}/dominant_groups.parquet",
        ranking=f"{RUN}/{{model}}/{{task}}/neuron_ranking.parquet",
    output:
        scales=f"{RUN}/{{model}}/{{task}}/steering_scales.parquet",
        curve=f"{RUN}/{{model}}/{{task}}/steering_curve.parquet",
    log:
        f"{RUN}/logs/learn_steering_scales/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/learn_steering_scales/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            image_folder=image_folder(wc.task),
            steering=SETTINGS.steering,
            seed=SETTINGS.seed,
        ),
        code=lambda wc: code("learn_steering_scales", wc.task),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/learn_steering_scales.py"


rule predict_steered:
    input:
        model_files,
        images=task_images,
        instances=instances,
        scales=f"{RUN}/{{model}}/{{task}}/steering_scales.parquet",
    output:
        f"{RUN}/{{model}}/{{task}}/steered_predictions.parquet",
    log:
        f"{RUN}/logs/predict_steered/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_steered/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            decoding=SETTINGS.decoding,
            image_folder=image_folder(wc.task),
        ),
        code=lambda wc: code("predict_steered", wc.task),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_steered.py"
