"""Write-in contributions, and their drop under each selected head."""

from hones_core import artifacts
from hones_core.attribution.neuron_effects import measure_neuron_effects
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.neurons import NEURON_EFFECTS
from workflow_scripts.model_step import kept_parts, open_evaluator, read_instances
from workflow_scripts.step import provenance
from workflow_scripts.task_jobs import task_jobs
from workflow_scripts.timed_step import timed_step

with timed_step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        heads = artifacts.read(job.input.heads, HEAD_RANKING).query("selected")
        instances = read_instances(job, ("discovery",), cfg["samples"])
        with kept_parts(job) as parts:
            effects = measure_neuron_effects(
                open_evaluator(job),
                instances,
                documents=read_instances(job, ("discovery",)),
                heads=list(zip(heads["layer"].tolist(), heads["head"].tolist(), strict=True)),
                clip=cfg["clip"],
                positions=cfg["positions"],
                idf_tokens=cfg["idf_tokens"],
                parts=parts,
            )
            artifacts.write(job.output[0], effects, NEURON_EFFECTS, provenance(job))
