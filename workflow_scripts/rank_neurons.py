"""Every ranker's order of all neurons."""

from hones_core import artifacts
from hones_core.attribution.rankers import Measurements, rank_neurons
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.neurons import ACTIVATION_STATISTICS, NEURON_EFFECTS, NEURON_RANKING
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    measured = Measurements(
        artifacts.read(snakemake.input.heads, HEAD_RANKING),
        artifacts.read(snakemake.input.effects, NEURON_EFFECTS),
        artifacts.read(snakemake.input.activations, ACTIVATION_STATISTICS),
    )
    seeds = [cfg["seed"] + offset for offset in range(cfg["random_seeds"])]
    ranking = rank_neurons(measured, cfg["rankers"], seeds)
    artifacts.write(snakemake.output[0], ranking, NEURON_RANKING, provenance(snakemake))
