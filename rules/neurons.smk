# Neuron scores: head-conditioned write-in contributions, and the rankers to compare with.


rule measure_neuron_effects:
    input:
        model_files,
        images=task_images,
        instances=instances,
        heads=f"{RUN}/{{model}}/{{task}}/head_ranking.parquet",
    output:
        f"{RUN}/{{model}}/{{task}}/neuron_effects.parquet",
    log:
        f"{RUN}/logs/measure_neuron_effects/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_neuron_effects/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: neuron_effects_section(wc),
        code=lambda wc: code("measure_neuron_effects", wc.task),
        env=versions(*MODEL_PACKAGES),
    script:
        "../workflow_scripts/measure_neuron_effects.py"


rule measure_activations:
    input:
        model_files,
        images=task_images,
        instances=instances,
    output:
        f"{RUN}/{{model}}/{{task}}/activation_statistics.parquet",
    log:
        f"{RUN}/logs/measure_activations/{{model}}/{{task}}.log",
    benchmark:
        f"{RUN}/benchmarks/measure_activations/{{model}}/{{task}}.tsv"
    conda:
        "../envs/hones.yaml"
    params:
        cfg=lambda wc: section(
            model=model_section(wc.model),
            image_folder=image_folder(wc.task),
            samples=getattr(SETTINGS.neurons.samples, wc.task),
            aggregate=SETTINGS.neurons.aggregate,
            activation=SETTINGS.neurons.activation,
            threshold=SETTINGS.neurons.activation_threshold,
        ),
        code=lambda wc: code("measure_activations", wc.task),
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
        code=lambda wc: code("rank_neurons", wc.task),
        env=versions(*TABLE_PACKAGES),
    script:
        "../workflow_scripts/rank_neurons.py"
