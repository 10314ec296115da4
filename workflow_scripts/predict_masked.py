"""Test predictions with each ranker's top neurons silenced."""

from hones_core import artifacts
from hones_core.masking import predict_masked
from hones_core.neuron_sets import top_set
from hones_core.schemas.masking import MASKED_PREDICTIONS
from hones_core.schemas.neurons import NEURON_RANKING
from workflow_scripts.model_step import (
    kept_parts,
    open_evaluator,
    own_share,
    read_instances,
)
from workflow_scripts.step import step

with step(snakemake):
    ranking = artifacts.read(snakemake.input.ranking, NEURON_RANKING)
    ratio = snakemake.params.cfg["top_ratio"]
    orders = ranking[["ranker", "seed"]].drop_duplicates().itertuples(index=False)
    sets = {(ranker, seed): top_set(ranking, ranker, ratio, seed) for ranker, seed in orders}
    instances = read_instances(snakemake, ("test",))
    with kept_parts(snakemake) as parts:
        evaluator = open_evaluator(snakemake)
        instances, made_by = own_share(snakemake, evaluator, instances)
        predictions = predict_masked(evaluator, instances, sets, ("ranker", "seed"), parts)
        artifacts.write(snakemake.output[0], predictions, MASKED_PREDICTIONS, made_by)
