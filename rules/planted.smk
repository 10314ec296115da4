# Models whose circuits are known: what every ranker finds of them. Needs no data and no weights.


rule planted_recovery:
    output:
        *shown(
            expand(
                f"{RUN}/tables/planted_{{table}}.{{format}}",
                table=["recovery", "strengths"],
                format=FORMATS[1:],
            )
        ),
        recovery=f"{RUN}/tables/planted_recovery.parquet",
        strengths=f"{RUN}/tables/planted_strengths.parquet",
        truth=f"{RUN}/planted/truth.parquet",
        figure=shown(multiext(f"{RUN}/figures/planted_recovery", ".svg", ".png")),
    log:
        f"{RUN}/logs/planted_recovery.log",
    benchmark:
        f"{RUN}/benchmarks/planted_recovery.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            planted=SETTINGS.planted,
            options=dict(
                ranker_seeds={
                    name: random_seeds(name) for name in ("random", "rand_head")
                },
                positions=SETTINGS.heads.positions,
                clip=SETTINGS.neurons.clip,
                idf_tokens=SETTINGS.neurons.idf_tokens,
                aggregate=SETTINGS.neurons.aggregate,
                activation=SETTINGS.neurons.activation,
                activation_threshold=SETTINGS.neurons.activation_threshold,
                ma_absolute=SETTINGS.neurons.ma_absolute,
                groups_per_layer=SETTINGS.neurons.group_patching.groups_per_layer,
                corruption=SETTINGS.neurons.group_patching.corruption,
                noise_multiple=SETTINGS.neurons.group_patching.noise_multiple,
                qrnca_steps=SETTINGS.neurons.qrnca.steps,
                qrnca_threshold=SETTINGS.neurons.qrnca.threshold,
                qrnca_max_query_share=SETTINGS.neurons.qrnca.max_query_share,
                llm_knowledge_variance=SETTINGS.neurons.llm_knowledge.variance,
            ),
        ),
        code=code("planted_recovery"),
        env=versions(*MODEL_PACKAGES, *TABLE_PACKAGES, "matplotlib", "pillow"),
    script:
        "../workflow_scripts/planted_recovery.py"
