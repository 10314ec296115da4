"""Small official annotation files for the tests of benchmark construction."""

import json
from pathlib import Path

import pandas as pd
import pytest

from hones_core.benchmark.selection import build_records

SAMPLE = Path(__file__).resolve().parents[1].parent / "shared" / "coco_sample"
FILES = {
    "captions": "captions_train2014.json",
    "coco_text": "cocotext.v2.json",
    "vqa_questions": "v2_OpenEnded_mscoco_train2014_questions.json",
    "vqa_annotations": "v2_mscoco_train2014_annotations.json",
}
WIDTH, HEIGHT = 64, 48


def official(image_ids) -> dict[str, dict]:
    """The four files' contents, with one question, five captions and one box for each image."""
    image_ids = list(image_ids)
    images = [
        {"id": i, "file_name": f"COCO_train2014_{i:012d}.jpg", "width": WIDTH, "height": HEIGHT}
        for i in image_ids
    ]
    return {
        "captions": {
            "images": images,
            "annotations": [
                {"id": 10 * i + k, "image_id": i, "caption": f"caption {k} of image {i}"}
                for i in image_ids
                for k in range(5)
            ],
        },
        "coco_text": {
            "imgs": {str(image["id"]): dict(image, set="train") for image in images},
            "anns": {str(7 * i): text_box(7 * i, i) for i in image_ids},
            "imgToAnns": {str(i): [7 * i] for i in image_ids},
            "cats": {},
        },
        "vqa_questions": {"questions": [question(1000 * i, i) for i in image_ids]},
        "vqa_annotations": {"annotations": [answers(1000 * i, i) for i in image_ids]},
    }


def text_box(box_id: int, image_id: int, **changes) -> dict:
    """A COCO-Text v2 annotation."""
    entry = {
        "id": box_id,
        "image_id": image_id,
        "bbox": [8.0, 6.0, 20.0, 10.0],
        "mask": [8.0, 6.0, 28.0, 6.0, 28.0, 16.0],
        "utf8_string": f"T{image_id}",
        "legibility": "legible",
        "class": "machine printed",
        "language": "english",
        "area": 200.0,
    }
    return {**entry, **changes}


def question(question_id: int, image_id: int) -> dict:
    """A VQAv2 question."""
    return {"question_id": question_id, "image_id": image_id, "question": f"What is {image_id}?"}


def answers(question_id: int, image_id: int, count: int = 10) -> dict:
    """A VQAv2 annotation with `count` answers."""
    return {
        "question_id": question_id,
        "image_id": image_id,
        "question_type": "what is",
        "answer_type": "other",
        "multiple_choice_answer": "yes",
        "answers": [
            {"answer": f"a{k}", "answer_confidence": "yes", "answer_id": k + 1}
            for k in range(count)
        ],
    }


def write(folder: Path, data: dict[str, dict]) -> dict[str, Path]:
    """Write the four files; returns the path arguments of `build_records`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {kind: folder / name for kind, name in FILES.items()}
    for kind, path in paths.items():
        path.write_text(json.dumps(data[kind]))
    return paths


def records_of(folder: Path, data: dict[str, dict], **options) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Write the files and build the records from them."""
    return build_records(**write(folder, data), **options)


def sample_paths() -> dict[str, Path]:
    """The real COCO sample; skips the test where it is absent."""
    if not SAMPLE.is_dir():
        pytest.skip("the COCO sample is not part of the repository: no ../shared/coco_sample here")
    return {kind: SAMPLE / name.replace(".json", ".subset.json") for kind, name in FILES.items()}
