"""Test predictions with each ranker's top neurons silenced."""

from hones_core import artifacts
from hones_core.masking import predict_masked, with_nonzero_scores
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
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        ranking = artifacts.read(job.input.ranking, NEURON_RANKING)
        ratio = job.params.cfg["top_ratio"]
        orders = ranking[["ranker", "seed"]].drop_duplicates().itertuples(index=False)
        sets = {(ranker, seed): top_set(ranking, ranker, ratio, seed) for ranker, seed in orders}
        instances = read_instances(job, ("test",))
        with kept_parts(job) as parts:
            evaluator = open_evaluator(job)
            instances, made_by = own_share(job, evaluator, instances)
            predictions = predict_masked(evaluator, instances, sets, ("ranker", "seed"), parts)
            predictions = with_nonzero_scores(predictions, ranking)
            artifacts.write(job.output[0], predictions, MASKED_PREDICTIONS, made_by)
