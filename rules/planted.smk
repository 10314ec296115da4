# Models whose circuits are known: what every ranker finds of them. Needs no data and no weights.


rule planted_recovery:
    output:
        *expand(
            f"{RUN}/tables/planted_{{table}}.{{format}}",
            table=["recovery", "strengths"],
            format=FORMATS[1:],
        ),
        recovery=f"{RUN}/tables/planted_recovery.parquet",
        strengths=f"{RUN}/tables/planted_strengths.parquet",
        truth=f"{RUN}/planted/truth.parquet",
        figure=multiext(f"{RUN}/figures/planted_recovery", ".svg", ".png"),
    log:
        f"{RUN}/logs/planted_recovery.log",
    benchmark:
        f"{RUN}/benchmarks/planted_recovery.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            planted=SETTINGS.planted,
            positions=SETTINGS.heads.positions,
            clip=SETTINGS.neurons.clip,
            idf_tokens=SETTINGS.neurons.idf_tokens,
            aggregate=SETTINGS.neurons.aggregate,
            activation=SETTINGS.neurons.activation,
            activation_threshold=SETTINGS.neurons.activation_threshold,
            random_seeds=SETTINGS.neurons.random_seeds,
        ),
        code=code("planted_recovery"),
        env=versions(*MODEL_PACKAGES, *TABLE_PACKAGES, "matplotlib", "pillow"),
    script:
        "../workflow_scripts/planted_recovery.py"
