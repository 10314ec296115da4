"""A page for the first neuron of each overlap group, which the report links."""

from pathlib import Path

from hones_core import artifacts
from hones_core.neuron_card import write_card
from hones_core.neuron_card_data import read_cards
from hones_core.neuron_sets import first_of_groups
from hones_core.schemas.masking import OVERLAP_GROUPS
from hones_core.schemas.neurons import NEURON_RANKING
from workflow_scripts.model_step import open_model
from workflow_scripts.step import step

with step(snakemake):
    cfg, inputs = snakemake.params.cfg, snakemake.input
    rankings = {
        task: artifacts.read(path, NEURON_RANKING)
        for task, path in zip(cfg["tasks"], inputs.rankings, strict=True)
    }
    chosen = first_of_groups(artifacts.read(inputs.groups, OVERLAP_GROUPS), rankings)
    neurons = list(dict.fromkeys(chosen.values()))
    results = Path(inputs.groups).parent
    adapter = open_model(snakemake, "plain")  # which runs whole prompts, as the cards do
    folder = Path(snakemake.output[0])
    folder.mkdir(parents=True)
    for card in read_cards(results, neurons, cfg["samples"], adapter):
        write_card(card, folder / f"{card.layer}-{card.neuron}.html")
