"""The test instances that stand for each task in the figure of the logit lens."""

import pandas as pd

from hones_core import artifacts
from hones_core.benchmark.instance_objects import to_instances
from hones_core.lens_samples import lens_samples
from hones_core.neuron_sets import salient_sets
from hones_core.schemas.benchmark import INSTANCES
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.lens import LOGIT_LENS_SAMPLES
from hones_core.schemas.masking import DOMINANT_GROUPS, GROUP_PREDICTIONS, OVERLAP_GROUPS
from workflow_scripts.step import provenance, step

with step(snakemake):
    cfg, files = snakemake.params.cfg, snakemake.input
    groups = artifacts.read(files.groups, OVERLAP_GROUPS)
    dominant = artifacts.read(files.dominant, DOMINANT_GROUPS)
    frames = [
        lens_samples(
            task,
            cfg["family"],
            to_instances(artifacts.read(files[f"instances_{task}"], INSTANCES)),
            artifacts.read(files[f"base_{task}"], BASE_PREDICTIONS),
            artifacts.read(files[f"masked_{task}"], GROUP_PREDICTIONS),
            salient_sets(groups, dominant, task),
            (cfg["samples"] or {}).get(task),
            cfg["samples_per_task"],
        )
        for task in cfg["tasks"]
    ]
    samples = pd.concat(frames, ignore_index=True)
    artifacts.write(snakemake.output[0], samples, LOGIT_LENS_SAMPLES, provenance(snakemake))
