"""A page for the first neuron of each overlap group, which the report links."""

from pathlib import Path

from transformers.utils import logging

from hones_core import artifacts
from hones_core.models import load_model
from hones_core.neuron_card import write_card
from hones_core.neuron_card_data import read_card
from hones_core.neuron_sets import first_of_groups
from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.neurons import NEURON_RANKING
from workflow_scripts.step import step

with step(snakemake):
    logging.disable_progress_bar()
    cfg, inputs = snakemake.params.cfg, snakemake.input
    rankings = {
        task: artifacts.read(path, NEURON_RANKING)
        for task, path in zip(cfg["tasks"], inputs.rankings, strict=True)
    }
    chosen = first_of_groups(artifacts.read(inputs.groups, OVERLAP_GROUPS), rankings)
    model = {name: value for name, value in cfg["model"].items() if name != "batch_size"}
    adapter = load_model(**model)
    folder = Path(snakemake.output[0])
    folder.mkdir(parents=True)
    for layer, neuron in dict.fromkeys(chosen.values()):
        card = read_card(Path(inputs.groups).parent, layer, neuron, cfg["samples"], adapter)
        write_card(card, folder / f"{layer}-{neuron}.html")
