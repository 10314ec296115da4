"""Write-in contributions, and their drop under each selected head."""

from hones_core import artifacts
from hones_core.head_ranking import selected_heads
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.neurons import NEURON_EFFECTS
from workflow_scripts.neuron_effects_step import write_neuron_effects
from workflow_scripts.task_jobs import task_jobs
from workflow_scripts.timed_step import timed_step

with timed_step(snakemake):
    for job in task_jobs(snakemake):
        heads = selected_heads(artifacts.read(job.input.heads, HEAD_RANKING))
        write_neuron_effects(job, heads, NEURON_EFFECTS)
