# One learned scale per neuron of the bank, and what it does on test.


rule learn_steering_scales:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "groups", "dominant", "ranking")),
    output:
        **job_outputs(
            "steering_scales", "steering_curve", "steering_gates", "steering_search"
        ),
    log:
        f"{RUN}/logs/learn_steering_scales/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/learn_steering_scales/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=image_folder(wc.task),
                steering=SETTINGS.steering,
                seed=SETTINGS.seed,
            )
        ),
        code=job_code("learn_steering_scales"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/learn_steering_scales.py"


rule predict_steered:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "every_scale")),
    output:
        **job_outputs("steered_predictions", "side_effect_predictions"),
    log:
        f"{RUN}/logs/predict_steered/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_steered/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                engine=SETTINGS.engine,
                decoding=SETTINGS.decoding,
                image_folder=image_folder(wc.task),
                tasks=TASKS,
            )
        ),
        code=job_code("predict_steered"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_steered.py"
