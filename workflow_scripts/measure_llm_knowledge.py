"""What every neuron alone adds to the answer's log-probability."""

from hones_core import artifacts
from hones_core.attribution.token_level.llm_knowledge import measure_llm_knowledge
from hones_core.schemas.rankers import LLM_KNOWLEDGE_SCORES
from workflow_scripts.model_step import open_evaluator, read_instances
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg = snakemake.params.cfg
    instances = read_instances(snakemake, ("discovery",), cfg["samples"])
    scores = measure_llm_knowledge(open_evaluator(snakemake), instances, cfg["variance"])
    artifacts.write(snakemake.output[0], scores, LLM_KNOWLEDGE_SCORES, provenance(snakemake))
