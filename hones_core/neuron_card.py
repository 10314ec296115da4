"""One neuron on one page: `python -m hones_core.neuron_card results/toy/llava 3 217`.

Scores and ranks, membership in the tasks' top sets, what it writes to the vocabulary, and the
discovery samples that activate it most. Scores are read from the run's artifacts; the model, as
their provenance names it, is loaded for the rest. In a notebook:
`IPython.display.HTML(card_page(read_card("results/toy/llava", 3, 217)))`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from transformers.utils import logging

from hones_core.artifacts import ArtifactError
from hones_core.atomic import written_atomically
from hones_core.benchmark.errors import ImageError
from hones_core.models.adapter import ModelError
from hones_core.neuron_card_data import MOST_SAMPLES, Card, CardError, read_card
from hones_core.neuron_card_page import card_page


def write_card(card: Card, output: str | Path | None = None) -> Path:
    """Write the card's page; by default beside the model's results, in neuron_cards/."""
    name = f"{card.layer}-{card.neuron}.html"
    path = Path(output) if output else Path(card.folder) / "neuron_cards" / name
    with written_atomically(path) as temporary:
        temporary.write_text(card_page(card), encoding="utf-8")
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page and say where; 1 and a message on what is wrong if there is none."""
    parser = argparse.ArgumentParser(prog="python -m hones_core.neuron_card", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("folder", help="a model's results, such as results/toy/llava")
    parser.add_argument("layer", type=int, help="decoder layer, from 0")
    parser.add_argument("neuron", type=int, help="neuron within the layer, from 0")
    parser.add_argument("--output", help="file to write; default: neuron_cards/ in the folder")
    parser.add_argument(
        "--samples",
        type=int,
        default=MOST_SAMPLES,
        help=f"discovery instances of each task to look at, at most (default: {MOST_SAMPLES})",
    )
    given = parser.parse_args(arguments)
    logging.disable_progress_bar()
    try:
        card = read_card(given.folder, given.layer, given.neuron, given.samples)
        path = write_card(card, given.output)
    except (CardError, ArtifactError, ModelError, ImageError, OSError) as error:
        print(f"no card: {error}", file=sys.stderr)
        return 1
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
