"""The machine and what lies on it: packages, folders, devices, disk, artifacts of other origin."""

import shutil
from collections import namedtuple
from collections.abc import Callable

import pandas as pd
import pyarrow.parquet as pq
from case import Catalogue, Outcome
from commands import dry_run, script, tool, workflow
from study import RUN, Study

from hones_core import inspect, neuron_card
from hones_core.steering import __main__ as steering

ENVIRONMENT = Catalogue("environment")
SPLITTING = script("build_splits")
RECORDS = f"{RUN}/benchmark/records.parquet"
AGAIN = f"what rule build_records made: snakemake --cores 1 --force {RECORDS} ("


def found(name: str, broken, *says: str) -> None:
    """A case of an artifact that is not what the next step expects."""
    ENVIRONMENT.add(name, SPLITTING, broken, RECORDS, *says, AGAIN)


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Study], None]:
    def broken(study: Study) -> None:
        path = study.path(RECORDS)
        path.write_bytes(change(path.read_bytes()))

    return broken


def _metadata(**values: str) -> Callable[[Study], None]:
    """Other marks on the same table."""

    def broken(study: Study) -> None:
        table = pq.read_table(study.path(RECORDS))
        marks = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
        pq.write_table(table.replace_schema_metadata({**marks, **values}), study.path(RECORDS))

    return broken


def _foreign(study: Study) -> None:
    pd.DataFrame({"image_id": [1, 2]}).to_parquet(study.path(RECORDS))


def _fewer_columns(study: Study) -> None:
    table = pq.read_table(study.path(RECORDS))
    pq.write_table(table.drop_columns(["captions"]), study.path(RECORDS))


def _flip(content: bytes) -> bytes:
    """One bit of the data, which begin behind the four bytes of the format's name."""
    place = len(content) // 4
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


found("an artifact missing", lambda study: study.path(RECORDS).unlink(), "is missing")
found("an artifact cut off", _bytes(lambda b: b[:-100]), "is damaged")
found("an artifact of no bytes", _bytes(lambda b: b""), "is not a readable parquet file")
found("an artifact of zeros", _bytes(lambda b: bytes(len(b))), "is not a readable parquet file")
found("a bit turned over", _bytes(_flip), "is damaged")
found("a parquet file of another program", _foreign, "holds no HONES artifact")
found("an artifact of an older version", _metadata(hones_schema_version="0"), "records version 0")
found("an artifact without a version", _metadata(hones_schema_version="new"), "records version new")
found("another artifact in its place", _metadata(hones_schema="splits"), "holds splits version 1")
found("an artifact of fewer columns", _fewer_columns, "has no digest of its bytes")
found(
    "a folder in place of an artifact",
    lambda study: (study.path(RECORDS).unlink(), study.path(RECORDS).mkdir()),
    "is a folder, not a parquet file; remove it",
)


@ENVIRONMENT.case(
    "an artifact cut off, in a whole run",
    workflow(f"{RUN}/benchmark/instances/caption.parquet"),
    f"build_instances stopped: {RUN}/benchmark/splits.parquet is damaged",
    f"rule build_splits made: snakemake --cores 1 --force {RUN}/benchmark/splits.parquet (",
)
def _cut_off(study):
    path = study.artifact("benchmark/splits")
    path.write_bytes(path.read_bytes()[:-100])


@ENVIRONMENT.case(
    "a package missing",
    dry_run(without=("pycocotools",)),
    "package pycocotools is not installed in",
    "run `make env`",
    "or install envs/requirements.txt there",
)
def _no_pycocotools(study):
    return None


@ENVIRONMENT.case(
    "a Python without the requirements",
    dry_run(without=("pydantic", "pandas", "torch")),
    "import of pydantic halted",
    "run `make env`",
    "or install envs/requirements.txt there",
)
def _no_pydantic(study):
    return None


@ENVIRONMENT.case(
    "a file in place of results/",
    dry_run(),
    "results is a file where a folder is needed: move the file away",
)
def _file_results(study):
    shutil.rmtree(study.folder / "results")
    (study.folder / "results").touch()


@ENVIRONMENT.case(
    "results/ on a disk that is not there",
    dry_run(),
    "results is a link to /mnt/none/results, which is not there: mount or make that folder",
)
def _unmounted(study):
    shutil.rmtree(study.folder / "results")
    (study.folder / "results").symlink_to("/mnt/none/results")


def device(name: str, *says: str) -> None:
    """A case of a device that this machine does not have."""

    def broken(study: Study) -> None:
        model = study.settings().models[0].model_dump(exclude_none=True)
        study.overlay(
            {"models": [{"revision": None, "compare_with": None, **model, "device": name}]}
        )

    ENVIRONMENT.add(f"{name}, which is not there", script("predict_base"), broken, *says)


device(
    "cuda:99",
    "model cannot be run here: device: cuda:99 cannot be used",
    "Start this on a machine with a GPU and a driver that torch can use",
    "or set the model's device to cpu",
)


def full_disk(study: Study, overlays: list[str]) -> Outcome:
    """`preflight` on a disk with one megabyte left."""
    usage = namedtuple("usage", "total used free")
    real = shutil.disk_usage
    shutil.disk_usage = lambda _: usage(10**9, 10**9 - 10**6, 10**6)
    try:
        return script("preflight")(study, overlays)
    finally:
        shutil.disk_usage = real


@ENVIRONMENT.case(
    "a disk too small",
    full_disk,
    "preflight stopped: 1 checks failed: disk: about",
    "0.001 GB are free",
    "Make room under results/study, or link it to a larger disk",
)
def _full(study):
    for name in ("gqa", "textvqa"):
        study.path(f"data/{name}.json").unlink()
    study.path("data/flickr30k.csv").unlink()
    return study.overlay({"groups": {"ood_sets": []}})


@ENVIRONMENT.case(
    "a damaged artifact, looked at",
    tool(inspect.main, RECORDS),
    f"{RECORDS}",
    "is not a readable parquet file",
)
def _inspected(study):
    study.path(RECORDS).write_bytes(b"PAR1")


@ENVIRONMENT.case(
    "the page of a neuron of no model",
    tool(neuron_card.main, f"{RUN}/none", "0", "0"),
    f"no card: {RUN}/none is no folder",
    "give a model's results, such as results/toy/llava",
)
def _no_results(study):
    return None


@ENVIRONMENT.case(
    "scales that are pickled",
    tool(steering.main, "apply", "scales.safetensors", "model", "--output", "steered"),
    "scales.safetensors cannot be read as steering scales",
)
def _pickled_scales(study):
    study.path("scales.safetensors").write_bytes(b"\x80\x04\x95\x0e\x00\x00\x00\x00\x00\x00\x00.")


@ENVIRONMENT.case(
    "scales that nobody learned",
    tool(steering.main, "export", f"{RUN}/tiny", "vqa", "--output", "scales.safetensors"),
    f"{RUN}/tiny/vqa/steering_scales.parquet is missing",
    f"snakemake --cores 1 --force {RUN}/tiny/vqa/steering_scales.parquet",
)
def _no_scales(study):
    return None
