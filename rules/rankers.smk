# What only the rankers to compare with need. A rule runs if a ranker of the config asks for it.


rule measure_random_heads:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "heads")),
    output:
        **job_outputs("random_head_effects", shard=NEURONS_JOB),
    log:
        f"{RUN}/logs/measure_random_heads/{job_name()}{NEURONS_JOB}.log",
    cache: workflow.enable_cache
    conda:
        "../envs/hones.yaml"
    params:
        of=own_values,
        cfg=job_params(
            lambda wc: section(
                **neuron_effects_section(wc), seeds=random_seeds("rand_head")
            )
        ),
        shards=SETTINGS.neurons.shards,
        code=job_code("measure_random_heads"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_random_heads.py"


rule measure_gaussian_heads:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "heads")),
    output:
        **job_outputs("gaussian_effects", shard=NEURONS_JOB),
    log:
        f"{RUN}/logs/measure_gaussian_heads/{job_name()}{NEURONS_JOB}.log",
    cache: workflow.enable_cache
    conda:
        "../envs/hones.yaml"
    params:
        of=own_values,
        cfg=job_params(
            lambda wc: section(**neuron_effects_section(wc), seed=SETTINGS.seed)
        ),
        shards=SETTINGS.neurons.shards,
        code=job_code("measure_gaussian_heads"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_gaussian_heads.py"


rule measure_dla:
    input:
        model_files,
        images=task_images,
        instances=instances,
    output:
        f"{RUN}/{{model}}/{{task}}/dla_scores.parquet",
    log:
        f"{RUN}/logs/measure_dla/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_dla/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: token_level_section(wc),
        code=task_code("measure_dla"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_dla.py"


rule measure_group_patching:
    input:
        model_files,
        images=task_images,
        instances=instances,
    output:
        f"{RUN}/{{model}}/{{task}}/group_patching_effects.parquet",
    log:
        f"{RUN}/logs/measure_group_patching/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_group_patching/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: token_level_section(
            wc, group_patching=SETTINGS.neurons.group_patching, seed=SETTINGS.seed
        ),
        code=task_code("measure_group_patching"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_group_patching.py"


rule measure_qrnca:
    input:
        model_files,
        images=task_images,
        instances=instances,
    output:
        f"{RUN}/{{model}}/{{task}}/qrnca_scores.parquet",
    log:
        f"{RUN}/logs/measure_qrnca/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_qrnca/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: token_level_section(
            wc,
            steps=SETTINGS.neurons.qrnca.steps,
            threshold=SETTINGS.neurons.qrnca.threshold,
        ),
        code=task_code("measure_qrnca"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_qrnca.py"


rule measure_llm_knowledge:
    input:
        model_files,
        images=task_images,
        instances=instances,
    output:
        f"{RUN}/{{model}}/{{task}}/llm_knowledge_scores.parquet",
    log:
        f"{RUN}/logs/measure_llm_knowledge/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_llm_knowledge/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: token_level_section(
            wc, variance=SETTINGS.neurons.llm_knowledge.variance
        ),
        code=task_code("measure_llm_knowledge"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_llm_knowledge.py"


rule measure_efficiency:
    input:
        model_files,
        images=task_images,
        instances=instances,
        heads=f"{RUN}/{{model}}/{{task}}/head_ranking.parquet",
    output:
        f"{RUN}/{{model}}/{{task}}/efficiency/token_layers.parquet",
        # not reproducible, and so no artifact
        seconds=f"{RUN}/{{model}}/{{task}}/efficiency/seconds.csv",
    log:
        f"{RUN}/logs/measure_efficiency/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_efficiency/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            **neuron_effects_section(wc),
            decoding=SETTINGS.decoding,
            trials=SETTINGS.efficiency.trials,
            examples=SETTINGS.efficiency.samples,
            seed=SETTINGS.seed,
            steps=SETTINGS.neurons.qrnca.steps,
            group_patching=SETTINGS.neurons.group_patching,
        ),
        code=task_code("measure_efficiency"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_efficiency.py"
