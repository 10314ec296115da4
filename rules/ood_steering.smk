# Steering on other data sets: scales as they are, and learned anew. Not part of the default target.


rule learn_ood_scales:
    input:
        model_files,
        images=ood_images,
        instances=f"{RUN}/benchmark/ood/instances/{{ood_set}}.parquet",
        splits=f"{RUN}/benchmark/ood/splits/{{ood_set}}.parquet",
        scales=in_domain("steering_scales"),
        search=in_domain("steering_search"),
    output:
        f"{RUN}/{{model}}/ood/{{ood_set}}/tuned_scales.parquet",
    log:
        f"{RUN}/logs/learn_ood_scales/{{model}}/{{ood_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/learn_ood_scales/{{model}}/{{ood_set}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            image_folder=getattr(OOD, OOD_SETS[wc.ood_set].dataset).image_folder,
            steering=SETTINGS.steering,
            seed=SETTINGS.seed,
        ),
        code=code("learn_ood_scales"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/learn_ood_scales.py"


rule predict_ood_steered:
    input:
        model_files,
        images=ood_images,
        instances=f"{RUN}/benchmark/ood/instances/{{ood_set}}.parquet",
        splits=f"{RUN}/benchmark/ood/splits/{{ood_set}}.parquet",
        scales=in_domain("steering_scales"),
        tuned=f"{RUN}/{{model}}/ood/{{ood_set}}/tuned_scales.parquet",
    output:
        f"{RUN}/{{model}}/ood/{{ood_set}}/steered_predictions.parquet",
    log:
        f"{RUN}/logs/predict_ood_steered/{{model}}/{{ood_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_ood_steered/{{model}}/{{ood_set}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            decoding=SETTINGS.decoding,
            image_folder=getattr(OOD, OOD_SETS[wc.ood_set].dataset).image_folder,
        ),
        code=code("predict_ood_steered"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_ood_steered.py"


rule tabulate_ood_steering:
    input:
        steered=per_ood_set("steered_predictions", STEERED_SETS),
        splits=expand(
            f"{RUN}/benchmark/ood/splits/{{ood_set}}.parquet", ood_set=STEERED_SETS
        ),
        paper=f"{PAPER}/ood_steering_score.csv",
    output:
        shown(expand(f"{RUN}/tables/ood_steering.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_ood_steering.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_ood_steering.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            ood_sets=STEERED_SETS,
            models=BY_NAME,
            compare_with=COMPARE_WITH,
            bootstrap_resamples=SETTINGS.masking.bootstrap_resamples,
            seed=SETTINGS.seed,
        ),
        code=code("tabulate_ood_steering"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_ood_steering.py"
