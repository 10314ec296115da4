# Neuron scores: head-conditioned write-in contributions, and the rankers to compare with.


rule measure_neuron_effects:
    input:
        model_files,
        unpack(job_inputs("images", "instances", "heads")),
    output:
        **job_outputs("neuron_effects", shard=NEURONS_JOB),
    log:
        f"{RUN}/logs/measure_neuron_effects/{job_name()}{NEURONS_JOB}.log",
    cache: workflow.enable_cache
    conda:
        "../envs/hones.yaml"
    params:
        of=own_values,
        cfg=job_params(neuron_effects_section),
        shards=SETTINGS.neurons.shards,
        code=job_code("measure_neuron_effects"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_neuron_effects.py"


if SETTINGS.neurons.shards > 1:

    rule gather_neuron_effects:
        input:
            expand(
                f"{RUN}/{{{{model}}}}/{{{{task}}}}/{{{{effects}}}}/{{shard}}.parquet",
                shard=range(SETTINGS.neurons.shards),
            ),
        output:
            f"{RUN}/{{model}}/{{task}}/{{effects}}.parquet",
        log:
            f"{RUN}/logs/gather_neuron_effects/{{model}}/{{task}}/{{effects}}.log",
        benchmark:
            f"{RUN}/benchmarks/gather_neuron_effects/{{model}}/{{task}}/{{effects}}.tsv"
        wildcard_constraints:
            effects="neuron_effects|random_head_effects|gaussian_effects",
        conda:
            "../envs/hones.yaml"
        params:
            code=code("gather_neuron_effects"),
            env=versions(*TABLE_PACKAGES),
        script:
            "../workflow_scripts/gather_neuron_effects.py"


rule measure_activations:
    input:
        model_files,
        unpack(job_inputs("images", "instances")),
    output:
        **job_outputs("activation_statistics"),
    log:
        f"{RUN}/logs/measure_activations/{job_name()}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_activations/{job_name()}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=job_params(
            lambda wc: section(
                model=model_section(wc.model),
                image_folder=image_folder(wc.task),
                samples=SETTINGS.neurons.samples.get(wc.task),
                aggregate=SETTINGS.neurons.aggregate,
                activation=SETTINGS.neurons.activation,
                threshold=SETTINGS.neurons.activation_threshold,
            )
        ),
        code=job_code("measure_activations"),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_activations.py"


rule rank_neurons:
    input:
        unpack(ranker_artifacts),
    output:
        f"{RUN}/{{model}}/{{task}}/neuron_ranking.parquet",
    log:
        f"{RUN}/logs/rank_neurons/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/rank_neurons/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: ranking_section(wc),
        code=task_code("rank_neurons"),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/rank_neurons.py"
