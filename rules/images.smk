# Images made from the photographs: the blue box, and texts erased. Jobs share the work by shards.


rule draw_ocr_images:
    input:
        records=f"{RUN}/benchmark/records.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
        photographs=photographs,
    output:
        folder=directory(f"{RUN}/benchmark/ocr_images/{{shard}}"),
        manifest=f"{RUN}/benchmark/ocr_images/{{shard}}.parquet",
    log:
        f"{RUN}/logs/draw_ocr_images/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/draw_ocr_images/{{shard}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            image_folder=SETTINGS.data.image_folder,
            outline=SETTINGS.benchmark.outline,
            image_shards=SETTINGS.benchmark.image_shards,
        ),
        code=code("draw_ocr_images"),
        env=versions("numpy", "pillow"),
    script:
        "../workflow_scripts/draw_ocr_images.py"


rule gather_ocr_images:
    input:
        manifests=shards("ocr_images", ".parquet"),
        splits=f"{RUN}/benchmark/splits.parquet",
    output:
        f"{RUN}/benchmark/ocr_images.parquet",
    log:
        f"{RUN}/logs/gather_ocr_images.log",
    benchmark:
        f"{RUN}/benchmarks/gather_ocr_images.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("gather_ocr_images"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/gather_ocr_images.py"


rule list_text_regions:
    input:
        splits=f"{RUN}/benchmark/splits.parquet",
        coco_text=coco_text_file,
    output:
        f"{RUN}/benchmark/text_regions.parquet",
    log:
        f"{RUN}/logs/list_text_regions.log",
    benchmark:
        f"{RUN}/benchmarks/list_text_regions.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(coco_text=SETTINGS.data.coco_text),
        code=code("list_text_regions"),
        env=versions(*TABLE_PACKAGES, "pycocotools"),
    script:
        "../workflow_scripts/list_text_regions.py"


rule erase_image_texts:
    input:
        records=f"{RUN}/benchmark/records.parquet",
        splits=f"{RUN}/benchmark/splits.parquet",
        regions=f"{RUN}/benchmark/text_regions.parquet",
        photographs=photographs,
    output:
        folder=directory(f"{RUN}/benchmark/text_erased_images/{{shard}}"),
        manifest=f"{RUN}/benchmark/text_erased_images/{{shard}}.parquet",
    log:
        f"{RUN}/logs/erase_image_texts/{{shard}}.log",
    benchmark:
        f"{RUN}/benchmarks/erase_image_texts/{{shard}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            image_folder=SETTINGS.data.image_folder,
            image_shards=SETTINGS.benchmark.image_shards,
        ),
        code=code("erase_image_texts"),
        env=versions("numpy", "pillow"),
    script:
        "../workflow_scripts/erase_image_texts.py"


rule gather_text_erased_images:
    input:
        manifests=shards("text_erased_images", ".parquet"),
        splits=f"{RUN}/benchmark/splits.parquet",
    output:
        f"{RUN}/benchmark/text_erased_images.parquet",
    log:
        f"{RUN}/logs/gather_text_erased_images.log",
    benchmark:
        f"{RUN}/benchmarks/gather_text_erased_images.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        code=code("gather_text_erased_images"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/gather_text_erased_images.py"
