# The toy: generated scenes in the official file formats, and the model trained on such scenes.

if SETTINGS.data.toy_scenes:

    rule draw_toy_scenes:
        output:
            images=directory(SETTINGS.data.image_folder),
            captions=SETTINGS.data.captions,
            coco_text=SETTINGS.data.coco_text,
            vqa_questions=SETTINGS.data.vqa_questions,
            vqa_annotations=SETTINGS.data.vqa_annotations,
        log:
            f"{RUN}/logs/draw_toy_scenes.log",
        benchmark:
            f"{RUN}/benchmarks/draw_toy_scenes.tsv"
        conda:
            "../envs/hones.yaml"
        params:
            cfg=section(toy_scenes=SETTINGS.data.toy_scenes),
            code=code("draw_toy_scenes"),
            env=versions("numpy", "pillow"),
        script:
            "../workflow_scripts/draw_toy_scenes.py"


# Not part of the default targets: how the shipped models were made, and what they show.
TOYS = shipped("resources/toy")
TOY_MODEL = f"{TOYS}/{{model}}"
TOY_MODELS = [name for name in MODELS if os.path.exists(f"{TOYS}/{name}")]


rule train_toy:
    log:
        "results/logs/train_toy.log",
    conda:
        "../envs/hones.yaml"
    threads: 2
    params:
        folder="results/train_toy_llava",
        family="llava",
        seed=0,
    script:
        "../workflow_scripts/train_toy.py"


use rule train_toy as train_toy_llava with:
    log:
        "results/logs/train_toy_llava.log",


use rule train_toy as train_toy_qwen with:
    log:
        "results/logs/train_toy_qwen.log",
    params:
        folder="results/train_toy_qwen",
        family="qwen2_5_vl",
        seed=0,


rule predict_toy_check:
    input:
        model_files,
        images=task_images,
        instances=instances,
        effects=f"{RUN}/{{model}}/{{task}}/neuron_effects.parquet",
    output:
        f"{RUN}/{{model}}/{{task}}/toy_check_predictions.parquet",
    log:
        f"{RUN}/logs/predict_toy_check/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/predict_toy_check/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            engine=SETTINGS.engine,
            decoding=SETTINGS.decoding,
            image_folder=image_folder(wc.task),
            seed=SETTINGS.seed,
        ),
        code=task_code("predict_toy_check"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/predict_toy_check.py"


rule check_toy:
    input:
        base=expand(
            f"{RUN}/{{{{model}}}}/{{task}}/base_predictions.parquet", task=TASKS
        ),
        masked=expand(
            f"{RUN}/{{{{model}}}}/{{task}}/toy_check_predictions.parquet", task=TASKS
        ),
        weights=f"{TOY_MODEL}/model.safetensors",
        config=f"{TOY_MODEL}/config.json",
        description=f"{TOY_MODEL}/description.md",
    output:
        card=f"{TOY_MODEL}/README.md",
    log:
        f"{RUN}/logs/check_toy/{{model}}.log",
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(tasks=TASKS, resamples=SETTINGS.masking.bootstrap_resamples),
        code=code("check_toy"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/check_toy.py"
