"""Write-in contributions, and their drop under the random heads of every seed."""

from hones_core import artifacts
from hones_core.attribution.rand_head import random_heads
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.rankers import RANDOM_HEAD_EFFECTS
from workflow_scripts.neuron_effects_step import write_neuron_effects
from workflow_scripts.task_jobs import task_jobs
from workflow_scripts.timed_step import timed_step

with timed_step(snakemake):
    for job in task_jobs(snakemake):
        ranking = artifacts.read(job.input.heads, HEAD_RANKING)
        seeds = job.params.cfg["seeds"]
        drawn = {head for seed in seeds for head in random_heads(ranking, seed)}
        write_neuron_effects(job, sorted(drawn), RANDOM_HEAD_EFFECTS)
