"""Hand learned scales to people: `python -m hones_core.steering export | apply`."""

import argparse
import json
import sys
from collections.abc import Sequence

from hones_core.artifacts import ArtifactError
from hones_core.steering.bank import SteeringError
from hones_core.steering.export import export_scales, save_folded


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m hones_core.steering", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    export = commands.add_parser("export", help="write learned scales as one safetensors file")
    export.add_argument("folder", help="a model's results, such as results/toy/llava")
    export.add_argument("task", help="the task whose scales are wanted")
    export.add_argument("--output", required=True, help="the file to write")
    export.add_argument("--method", default="hones", help="hones, hones_nokl, random, grid_search")
    export.add_argument("--seed", type=int, default=0, help="the random bank, for --method random")
    apply = commands.add_parser("apply", help="fold scales into a model and save a checkpoint")
    apply.add_argument("scales", help="a file of `export`")
    apply.add_argument("model", help="a folder or a hub id")
    apply.add_argument("--output", required=True, help="the folder to write")
    apply.add_argument("--revision", help="commit of a hub id")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 and a line that says why if it cannot be done."""
    given = parser().parse_args(arguments)
    try:
        if given.command == "export":
            header = export_scales(given.folder, given.task, given.output, given.method, given.seed)
            print(json.dumps(header, indent=2, sort_keys=True))
        else:
            save_folded(given.scales, given.model, given.output, given.revision)
            print(f"{given.output} holds the model with the scales folded in")
    except (SteeringError, ArtifactError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
