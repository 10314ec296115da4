"""A small whole study in a folder: the workflow, official files, images, a model, artifacts."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from benchmark_support import FILES, HEIGHT, WIDTH, official, write
from model_support import random_model, save
from PIL import Image
from workflow_support import MORE_PARTS, PARTS, ROOT

from hones_core import artifacts
from hones_core.benchmark.instances import build_instances
from hones_core.benchmark.selection import build_records
from hones_core.benchmark.splits import build_splits
from hones_core.engine.plan import read_settings
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS, EXCLUDED, INSTANCES, RECORDS, SPLITS
from hones_core.settings import Settings

N_IMAGES = 8
RUN = "results/study"
OVERLAY = "study.yaml"
GQA = {"7": {"question": "Is it?", "imageId": "5", "answer": "yes", "isBalanced": True}}
TEXTVQA = {
    "data": [{"question_id": 7, "image_id": "5", "question": "Who?", "answers": ["me"] * 10}]
}
RESULTS_CSV = "image_name| comment_number| comment\n" + "".join(
    f"5.jpg| {number}| caption {number}\n" for number in range(5)
)


@dataclass(frozen=True)
class Study:
    """The folder of a study; what is read and written below it has short names."""

    folder: Path

    def copy(self, folder: Path) -> "Study":
        """The same study elsewhere, with the times of all files."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Study(folder)

    def path(self, name: str) -> Path:
        return self.folder / name

    def annotations(self, kind: str) -> Path:
        """One of the official files, by its key in the section `data`."""
        return self.folder / "data" / "annotations" / FILES[kind]

    def image(self, number: int = 1) -> Path:
        return self.folder / "data" / "train2014" / f"COCO_train2014_{number:012d}.jpg"

    def change(self, kind: str, change) -> None:
        """Change the content of one of the official files."""
        change_json(self.annotations(kind), change)

    def change_config(self, **values) -> None:
        """Set values in the model's config.json."""
        change_json(self.folder / "model" / "config.json", lambda config: config.update(values))

    def artifact(self, name: str) -> Path:
        return self.folder / RUN / f"{name}.parquet"

    def overlay(self, values: dict | str | bytes) -> list[str]:
        """Lay a file of the user's over the study's configuration: options of snakemake."""
        path = self.folder / "mine.yaml"
        if isinstance(values, dict):
            values = yaml.safe_dump(values)
        path.write_bytes(values.encode() if isinstance(values, str) else values)
        return ["mine.yaml"]

    def settings(self) -> Settings:
        """The study's settings, with the user's file over them if there is one."""
        files = [self.path(name) for name in ("config.yaml", OVERLAY, "mine.yaml")]
        base, *overlays = [str(file) for file in files if file.exists()]
        return read_settings(base, overlays)

    def state(self) -> dict[str, tuple[str, int]]:
        """{artifact: (digest, time of its last change in ns)}, without logs and timings."""
        found = {}
        for path in sorted((self.folder / "results").rglob("*")):
            name = path.relative_to(self.folder).as_posix()
            if path.is_file() and not name.startswith((f"{RUN}/logs/", f"{RUN}/benchmarks/")):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                found[name] = (digest, path.stat().st_mtime_ns)
        return found


def build(folder: Path) -> Study:
    """Make the study: its artifacts are made by the library, as the workflow's scripts do."""
    study = Study(folder)
    for name in (*PARTS, *MORE_PARTS):
        if name != "config.yaml":
            (folder / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "config.yaml", folder)
    study.path(OVERLAY).write_text(yaml.safe_dump(_values()))
    write(folder / "data" / "annotations", official(range(1, N_IMAGES + 1)))
    study.image().parent.mkdir()
    generator = np.random.default_rng(0)
    for number in range(1, N_IMAGES + 1):
        pixels = generator.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(study.image(number))
    Image.new("RGB", (WIDTH, HEIGHT)).save(study.path("data/train2014/5.jpg"))
    for name, content in (("gqa", GQA), ("textvqa", TEXTVQA)):
        study.path(f"data/{name}.json").write_text(json.dumps(content))
    study.path("data/flickr30k.csv").write_text(RESULTS_CSV)
    save(random_model(), folder / "model")
    _make_artifacts(study)
    return study


def _values() -> dict:
    """What differs from the default configuration."""
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    own = {"name": "tiny", "path": "model", "device": "cpu", "batch_size": 4}
    files = {kind: f"data/annotations/{name}" for kind, name in FILES.items()}
    queries = {"discovery": 2, "development": 1, "test": 1}
    question_set = {"image_folder": "data/train2014"}
    return {
        "run_name": "study",
        "data": {"image_folder": "data/train2014", **files, "toy_scenes": None},
        "benchmark": {
            "splits": {"discovery": 4, "development": 2, "test": 2},
            "retrieval": {"n_queries": queries, "n_negatives": 2, "pool_fraction": 0.5},
        },
        "ood": {
            "toy_scenes": None,
            "gqa": {"questions": "data/gqa.json", **question_set},
            "textvqa": {"questions": "data/textvqa.json", **question_set},
            "flickr30k": {"captions": "data/flickr30k.csv", **question_set},
        },
        "models": [{**models[0], **own}],
        "heads": {"samples": dict.fromkeys(("vqa", "ocr", "caption", "retrieval"))},
        "neurons": {"token_level_samples": None},
    }


def _make_artifacts(study: Study) -> None:
    """Records, splits, embeddings, and instances of vqa."""
    files = {kind: study.annotations(kind) for kind in FILES}
    records, excluded = build_records(**files)
    splits = build_splits(records["image_id"], 4, 2, 2)
    captions = sorted(set(records["captions"].explode()))
    vectors = np.random.default_rng(0).normal(size=(len(captions), 384))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    embeddings = pd.DataFrame({"caption": captions, "embedding": list(vectors.astype("float32"))})
    made = {
        "benchmark/records": (records, RECORDS),
        "benchmark/excluded": (excluded, EXCLUDED),
        "benchmark/splits": (splits, SPLITS),
        "benchmark/caption_embeddings": (embeddings, CAPTION_EMBEDDINGS),
        "benchmark/instances/vqa": (build_instances("vqa", records, splits), INSTANCES),
    }
    for name, (frame, schema) in made.items():
        artifacts.write(study.artifact(name), frame, schema)


def change_json(path: Path, change) -> None:
    """Read a JSON file, let `change` alter it, and write it."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
