"""HONES: from images and annotations to heads, neurons, masking and steering."""


report: "report/workflow.rst"


# config.yaml is read there, and the values given on the command line are laid over it.
include: "rules/common.smk"
include: "rules/params.smk"
include: "rules/inputs.smk"
include: "rules/jobs.smk"
include: "rules/shown.smk"


wildcard_constraints:
    task="|".join(TASK_NAMES),
    model="|".join(MODELS),
    shard=r"\d+",
    dataset="|".join(OOD_DATASETS),
    ood_set="|".join(OOD_SETS),


# With `profiles/slurm` these run where Snakemake runs: the download, since nodes have no internet,
# and what takes seconds and little memory, which would cost more in the queue.
localrules:
    download_coco,
    build_splits,
    gather_ocr_images,
    gather_text_erased_images,
    plot_agreement,
    plot_group_drop,
    plot_group_sizes,
    plot_head_budget,
    plot_head_scores,
    plot_logit_lens,
    plot_ratio_drop,
    plot_selectivity,


include: "rules/toy.smk"
include: "rules/benchmark.smk"
include: "rules/images.smk"
include: "rules/ood.smk"
include: "rules/data.smk"
include: "rules/preflight.smk"
include: "rules/heads.smk"
include: "rules/neurons.smk"
include: "rules/rankers.smk"
include: "rules/masking.smk"
include: "rules/groups.smk"
include: "rules/steering.smk"
include: "rules/ood_steering.smk"
include: "rules/sweeps.smk"
include: "rules/agreement.smk"
include: "rules/lens.smk"
include: "rules/planted.smk"
include: "rules/report.smk"
include: "rules/rankers_full.smk"


onsuccess:
    # Imported here, since every job's process reads this file.
    from hones_core.summary import run_summary

    if said := run_summary(Path(RUN)):
        print(f"\n{said}\n", file=sys.stderr)


rule all:
    default_target: True
    input:
        expand(
            f"{RUN}/tables/{{table}}.{{format}}",
            table=TABLES + BENCHMARK_TABLES,
            format=FORMATS,
        ),
        expand(f"{RUN}/figures/{{model}}/{{figure}}.svg", model=MODELS, figure=FIGURES),
        # the one table without parquet: its times are not reproducible
        multiext(f"{RUN}/tables/efficiency", ".csv", ".md")
        if TOKEN_LEVEL[0] in TASKS
        else [],
        f"{RUN}/tables/planted_recovery.csv",
        f"{RUN}/report/index.html",


rule ood_benchmark:
    input:
        expand(
            f"{RUN}/benchmark/ood/{{kind}}/{{ood_set}}.parquet",
            kind=["instances", "splits"],
            ood_set=OOD_SETS,
        ),
        expand(f"{RUN}/tables/ood_false_negatives.{{format}}", format=FORMATS),


rule ood_predictions:
    input:
        expand(
            f"{RUN}/{{model}}/ood/{{ood_set}}/base_predictions.parquet",
            model=MODELS,
            ood_set=OOD_SETS,
        ),


rule ood_steering:
    input:
        expand(f"{RUN}/tables/ood_steering.{{format}}", format=FORMATS),


rule check_toys:
    input:
        expand(f"{TOY_MODEL}/README.md", model=TOY_MODELS),


rule head_screening:
    input:
        expand(f"{RUN}/tables/head_screening.{{format}}", format=FORMATS),


rule rankers_full:
    input:
        f"{FULL_TABLES}/masking_drop.parquet",
