"""Development predictions with growing shares of the top neurons silenced, HONES beside random."""

from hones_core import artifacts
from hones_core.schemas.neurons import NEURON_RANKING
from hones_core.schemas.sweeps import RATIO_PREDICTIONS
from hones_core.sweeps import predict_ratio_masked
from workflow_scripts.model_step import made_by, open_evaluator, read_instances
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        ranking = artifacts.read(job.input.ranking, NEURON_RANKING)
        instances = read_instances(job, ("development",))
        evaluator = open_evaluator(job)
        predictions = predict_ratio_masked(
            evaluator, instances, ranking, cfg["rankers"], cfg["ratios"]
        )
        artifacts.write(job.output[0], predictions, RATIO_PREDICTIONS, made_by(job, evaluator))
