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
        params:
            cfg=section(toy_scenes=SETTINGS.data.toy_scenes),
            code=code("draw_toy_scenes"),
            env=versions("numpy", "pillow"),
        script:
            "../workflow_scripts/draw_toy_scenes.py"
