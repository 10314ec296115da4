"""How a case is run: the cheapest entry that is still the one that a user meets.

- `dry_run`: `snakemake --dry-run`, for what is refused before any job starts.
- `script`: a rule's own script in this process, given what the rule gives it. What it says is the
  log from "<rule> stopped:" on, which Snakemake shows (`show-failed-logs`).
- `tool`: `python -m hones_core.…` in this process.
- `workflow`: the real thing, which takes many seconds.
"""

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from case import Outcome
from snakemake.iocontainers import InputFiles, Log, OutputFiles, Params, Wildcards
from study import OVERLAY, RUN, Study
from workflow_support import ROOT

from hones_core.settings import Settings, plain
from hones_core.tasks.ood_sets import sets_in_run

SNAKEMAKES = Path(__file__).parent / "snakemakes.py"


class Snakemake:
    """A run of Snakemake on the targets, in a Python without some packages."""

    def __init__(self, *arguments: str, without: tuple[str, ...] = ()):
        self.arguments = arguments
        self.without = without

    def request(self, study: Study, overlays: list[str]) -> dict:
        """What `snakemakes.py` is asked for."""
        first, targets = ("--cores", "1", "--configfile", OVERLAY, *overlays), self.arguments
        return {
            "folder": str(study.folder),
            "arguments": [*first, *targets],
            "without": list(self.without),
        }


def dry_run(*targets: str, without: tuple[str, ...] = ()) -> Snakemake:
    """`snakemake --dry-run` of the targets."""
    return Snakemake("--dry-run", "--", *targets, without=without)


def workflow(*targets: str) -> Snakemake:
    """`snakemake` of the targets."""
    return Snakemake("--", *targets)


def run_snakemakes(requests: list[dict]) -> list[Outcome]:
    """The outcomes of several runs."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [sys.executable, str(SNAKEMAKES)]
    done = subprocess.run(
        command, input=json.dumps(requests), env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [Outcome(**answer) for answer in json.loads(done.stdout)]


def tool(main: Callable, *arguments: str) -> Callable:
    """A command line tool of the library."""

    def run(study: Study, _: list[str]) -> Outcome:
        said = io.StringIO()
        with (
            contextlib.chdir(study.folder),
            contextlib.redirect_stderr(said),
            contextlib.redirect_stdout(said),
        ):
            status = main([*arguments])
        return Outcome(status, said.getvalue())

    return run


def script(*rules: str, **wildcards: str) -> Callable:
    """The scripts of rules, one after the other until one stops, as Snakemake would run them."""

    def run(study: Study, _: list[str]) -> Outcome:
        settings = study.settings()
        for rule in rules:
            outcome = _script(study, rule, _JOBS[rule](settings, **wildcards))
            if outcome.status:
                break
        return outcome

    return run


class _Job:
    """What Snakemake gives to a script."""

    threads = 1

    def __init__(self, rule: str, wildcards: dict, inputs: dict, outputs: dict, params: dict):
        self.rule = rule
        self.wildcards = Wildcards(fromdict=wildcards)
        self.input = InputFiles(fromdict=inputs)
        self.output = OutputFiles(fromdict=outputs)
        self.params = Params(fromdict={"env": {}, "code": {}, **params})
        self.log = Log([f"{rule}.log"])


def _script(study: Study, rule: str, parts: tuple[dict, dict, dict, dict]) -> Outcome:
    job = _Job(rule, *parts)
    with contextlib.chdir(study.folder), contextlib.redirect_stderr(io.StringIO()):
        try:
            runpy.run_path(str(ROOT / "workflow_scripts" / f"{rule}.py"), {"snakemake": job})
            status = 0
        except SystemExit as leave:
            status = leave.code
        said = Path(job.log[0]).read_text()
    return Outcome(status, said[said.rindex(f"\n{rule} stopped: ") :] if status else said)


def _artifacts(*names: str) -> dict[str, str]:
    return {name: f"{RUN}/benchmark/{name}.parquet" for name in names}


def _build_records(settings: Settings) -> tuple[dict, dict, dict, dict]:
    files = plain(settings.data)
    cfg = {key: files[key] for key in files if key not in ("image_folder", "toy_scenes")}
    return {}, {}, _artifacts("records", "excluded"), {"cfg": cfg}


def _build_splits(settings: Settings) -> tuple[dict, dict, dict, dict]:
    cfg = {"splits": plain(settings.benchmark.splits), "seed": 0}
    return {}, _artifacts("records"), _artifacts("splits"), {"cfg": cfg}


def _draw_ocr_images(settings: Settings) -> tuple[dict, dict, dict, dict]:
    outputs = {
        "folder": f"{RUN}/benchmark/ocr_images/0",
        "manifest": f"{RUN}/benchmark/ocr_images/0.parquet",
    }
    cfg = {
        "image_folder": settings.data.image_folder,
        "outline": plain(settings.benchmark.outline),
        "image_shards": 1,
    }
    return {"shard": "0"}, _artifacts("records", "splits"), outputs, {"cfg": cfg}


def _mine_retrieval_pools(settings: Settings) -> tuple[dict, dict, dict, dict]:
    inputs = _artifacts("records", "splits")
    inputs["embeddings"] = f"{RUN}/benchmark/caption_embeddings.parquet"
    cfg = {"retrieval": plain(settings.benchmark.retrieval), "seed": 0}
    return {}, inputs, _artifacts("retrieval_pools"), {"cfg": cfg}


def _build_ood_items(settings: Settings, dataset: str) -> tuple[dict, dict, dict, dict]:
    folder = f"{RUN}/benchmark/ood"
    outputs = {
        "ood_items": f"{folder}/items/{dataset}.parquet",
        "excluded": f"{folder}/excluded/{dataset}.parquet",
    }
    cfg = {**plain(getattr(settings.ood, dataset)), "seed": 0}
    return {"dataset": dataset}, {}, outputs, {"cfg": cfg}


def _check_data(settings: Settings) -> tuple[dict, dict, dict, dict]:
    ood = {name: plain(getattr(settings.ood, name)) for name in ("gqa", "textvqa", "flickr30k")}
    sets = sets_in_run(settings.groups.ood_sets, settings.tasks)
    cfg = {"data": plain(settings.data), "ood": ood, "ood_sets": sets}
    return {}, {}, {}, {"cfg": cfg, "table": f"{RUN}/logs/data_check"}


def _preflight(settings: Settings) -> tuple[dict, dict, dict, dict]:
    return {}, {}, {}, {"cfg": plain(settings), "table": f"{RUN}/logs/preflight"}


def _predict_base(settings: Settings) -> tuple[dict, dict, dict, dict]:
    fields = ("path", "revision", "family", "dtype", "device", "batch_size")
    model = {name: getattr(settings.models[0], name) for name in fields}
    cfg = {
        "model": {**model, "min_pixels": None, "max_pixels": None},
        "engine": plain(settings.engine),
        "decoding": plain(settings.decoding),
        "image_folder": settings.data.image_folder,
    }
    inputs = {"instances_vqa": f"{RUN}/benchmark/instances/vqa.parquet"}
    outputs = {"base_predictions_vqa": f"{RUN}/tiny/vqa/base_predictions.parquet"}
    params = {"cfg": {"vqa": cfg}, "code": {"shared": {}, "vqa": {}}}
    return {"model": "tiny"}, inputs, outputs, params


# {rule: wildcards, inputs, outputs and params of its job}
_JOBS: dict[str, Callable] = {
    "build_records": _build_records,
    "build_splits": _build_splits,
    "draw_ocr_images": _draw_ocr_images,
    "mine_retrieval_pools": _mine_retrieval_pools,
    "build_ood_items": _build_ood_items,
    "check_data": _check_data,
    "preflight": _preflight,
    "predict_base": _predict_base,
}
