# Whether this machine can run what is configured. Not part of the default target.


# Without an output, so that it looks again whenever it is asked for: the machine may be another.
rule preflight:
    input:
        official_files,
        photographs,
        shifted_toy_files,
    log:
        f"{RUN}/logs/preflight.log",
    conda:
        "../envs/hones.yaml"
    params:
        cfg=plain(SETTINGS),
        table=f"{RUN}/tables/preflight",
        code=code("preflight"),
        env=versions(*MODEL_PACKAGES, *TABLE_PACKAGES, "safetensors"),
    script:
        "../workflow_scripts/preflight.py"
