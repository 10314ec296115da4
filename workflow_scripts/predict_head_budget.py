"""Development predictions with growing numbers of the top heads mean-replaced together."""

from hones_core import artifacts
from hones_core.schemas.heads import HEAD_RANKING
from hones_core.schemas.sweeps import HEAD_BUDGET_PREDICTIONS
from hones_core.sweeps import predict_head_budget
from workflow_scripts.model_step import made_by, open_evaluator, read_instances
from workflow_scripts.step import step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        cfg = job.params.cfg
        ranking = artifacts.read(job.input.heads, HEAD_RANKING)
        instances = read_instances(job, ("development",))
        evaluator = open_evaluator(job)
        predictions = predict_head_budget(
            evaluator, instances, ranking, cfg["budgets"], cfg["positions"]
        )
        made = made_by(job, evaluator)
        artifacts.write(job.output[0], predictions, HEAD_BUDGET_PREDICTIONS, made)
