"""The order of the heads, and which are selected."""

from hones_core import artifacts
from hones_core.head_ranking import rank_heads
from hones_core.schemas.heads import HEAD_EFFECTS, HEAD_RANKING
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    effects = artifacts.read(snakemake.input.effects, HEAD_EFFECTS)
    ranking = rank_heads(effects, cfg["utility"], cfg["top_heads"], cfg["screening"])
    artifacts.write(snakemake.output[0], ranking, HEAD_RANKING, provenance(snakemake))
