"""One self-contained HTML page of everything the run found."""

from pathlib import Path

from hones_core import artifacts
from hones_core.atomic import write_text
from hones_core.benchmark.instance_objects import to_instances
from hones_core.job_records import job_records
from hones_core.neuron_sets import first_of_groups
from hones_core.report.facts import card_links, cost, origin
from hones_core.report.page import render
from hones_core.report.samples import as_json, choose_samples, thumbnail
from hones_core.report.sections import sections
from hones_core.report.steps import drawing
from hones_core.report.verdicts import headline
from hones_core.schemas.benchmark import INSTANCES
from hones_core.schemas.masking import MASKED_PREDICTIONS, OVERLAP_GROUPS
from hones_core.schemas.neurons import HONES_ORDER, NEURON_RANKING
from hones_core.schemas.steering import STEERED_PREDICTIONS
from hones_core.schemas.tables import MASKING_DROP
from workflow_scripts.step import step
from workflow_scripts.table_step import paths_per_task, read_per_model, read_per_task

with step(snakemake):
    cfg, inputs = snakemake.params.cfg, snakemake.input
    tables = Path(inputs.tables[0]).parent
    run = tables.parent
    families = dict(cfg["families"])
    masked = paths_per_task(snakemake, "masked")
    steered = paths_per_task(snakemake, "steered")
    rankings = read_per_task(snakemake, "rankings", NEURON_RANKING, where=HONES_ORDER)
    groups = read_per_model(snakemake, "groups", OVERLAP_GROUPS)
    chosen, images = [], {}
    for task, path in zip(cfg["tasks"], inputs.instances, strict=True):
        instances = to_instances(artifacts.read(path, INSTANCES))
        tested = [one for one in instances if one.split == "test"]
        files = {one.instance_id: one.image for one in tested}
        for model, family in families.items():
            own = choose_samples(
                model,
                family,
                tested,
                artifacts.read(masked[model, task], MASKED_PREDICTIONS),
                artifacts.read(steered[model, task], STEERED_PREDICTIONS),
                cfg["samples"],
            )
            folder = cfg["image_folders"][task]
            images |= {one.image: thumbnail(folder, files[one.instance]) for one in own}
            chosen += own
    cards = {
        model: first_of_groups(
            groups[model], {task: rankings[model, task] for task in cfg["tasks"]}
        )
        for model in families
    }
    reads = dict(snakemake.params.reads)
    own = reads.pop(snakemake.rule)  # nearly all others: lines to it would hide the rest
    examples = [*inputs.masked, *inputs.steered, *inputs.instances]
    page = render(
        f"HONES: run {run.name}",
        headline(artifacts.read(tables / "masking_drop.parquet", MASKING_DROP)),
        sections(tables, run / "figures", list(families)),
        as_json(chosen, images),
        drawing(reads, own, job_records(run / "benchmarks")),
        {
            "Neurons": card_links(cards),
            "Time and memory": cost(run / "benchmarks"),
            "Provenance": origin(examples, {**cfg["settings"], "seed": cfg["seed"]}),
        },
    )
    write_text(Path(snakemake.output[0]), page)
