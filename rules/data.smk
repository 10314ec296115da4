# The user's own data: a check of them, and their download. Neither is part of the default target.


# Without an output, so that it looks again whenever it is asked for.
rule check_data:
    input:
        official_files,
        photographs,
        shifted_toy_files,
    log:
        f"{RUN}/logs/check_data.log",
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(
            data=SETTINGS.data,
            ood={name: plain(getattr(OOD, name)) for name in OOD_DATASETS},
            ood_sets=GROUP_SETS,
        ),
        table=f"{RUN}/tables/data_check",
        code=code("check_data"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/check_data.py"


# Without an output: the files that the study reads are the user's, however they came there.
rule download_coco:
    input:
        archives=shipped("resources/data/coco_archives.csv"),
    log:
        f"{RUN}/logs/download_coco.log",
    conda:
        "../envs/hones.yaml"
    params:
        cfg=section(folder=SETTINGS.download.folder),
        code=code("download_coco"),
        env={},
    script:
        "../workflow_scripts/download_coco.py"
