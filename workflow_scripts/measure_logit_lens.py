"""What each layer's FFN takes from the tokens when a task's groups are silenced."""

from hones_core import artifacts
from hones_core.logit_lens import measure_logit_lens
from hones_core.neuron_sets import salient_sets
from hones_core.schemas.lens import LOGIT_LENS_BY_LAYER, LOGIT_LENS_TOKENS
from hones_core.schemas.masking import DOMINANT_GROUPS, OVERLAP_GROUPS
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step
from workflow_scripts.task_jobs import task_jobs

with step(snakemake):
    for job in task_jobs(snakemake):
        instances = read_instances(job, ("test",))
        sets = salient_sets(
            artifacts.read(job.input.groups, OVERLAP_GROUPS),
            artifacts.read(job.input.dominant, DOMINANT_GROUPS),
            job.wildcards.task,
        )
        by_layer, tokens = measure_logit_lens(
            open_evaluator(job), instances, sets, job.params.cfg["norm"]
        )
        made_by = provenance(job)
        artifacts.write(job.output.logit_lens_by_layer, by_layer, LOGIT_LENS_BY_LAYER, made_by)
        artifacts.write(job.output.logit_lens_tokens, tokens, LOGIT_LENS_TOKENS, made_by)
