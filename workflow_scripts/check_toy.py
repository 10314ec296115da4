"""The toy model's card: its description, and what was measured of it."""

import json
from pathlib import Path

from hones_core import artifacts
from hones_core.atomic import write_text
from hones_core.schemas.heads import BASE_PREDICTIONS
from hones_core.schemas.toy import TOY_CHECK_PREDICTIONS
from hones_core.tasks import TASKS
from hones_core.toy.check import card_section, check_task
from workflow_scripts.step import step

with step(snakemake):
    cfg = snakemake.params.cfg
    checks = {
        task: check_task(
            task,
            TASKS[task],
            artifacts.read(base, BASE_PREDICTIONS),
            artifacts.read(masked, TOY_CHECK_PREDICTIONS),
            cfg["resamples"],
        )
        for task, base, masked in zip(
            cfg["tasks"], snakemake.input.base, snakemake.input.masked, strict=True
        )
    }
    text = json.loads(Path(snakemake.input.config).read_text(encoding="utf-8"))["text_config"]
    section = card_section(
        checks,
        n_neurons=text["num_hidden_layers"] * text["intermediate_size"],
        n_heads=text["num_hidden_layers"] * text["num_attention_heads"],
        size_mb=Path(snakemake.input.weights).stat().st_size / 1e6,
    )
    description = Path(snakemake.input.description).read_text(encoding="utf-8")
    card = description.replace("{figures}", section)
    write_text(Path(snakemake.output.card), card)
