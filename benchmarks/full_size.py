"""Time and memory of benchmark construction at the official files' size, on generated files.

    PYTHONPATH=. python benchmarks/full_size.py FOLDER [STEP ...]

writes files of the official layout and size to FOLDER (about 800 MB, once) and measures the steps
check, records, embeddings, mining, overlays (all of them if none is named), each in a process of
its own. Prints one Markdown row a step: wall time, CPU time, peak memory.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from hones_core import artifacts
from hones_core.benchmark.data_check import check_coco
from hones_core.benchmark.json_stream import records as json_records
from hones_core.benchmark.overlays import draw_ocr_images
from hones_core.benchmark.retrieval_pools import Mining, mine_retrieval_pools
from hones_core.benchmark.selection import build_records
from hones_core.benchmark.splits import build_splits, used_records
from hones_core.schemas.benchmark import CAPTION_EMBEDDINGS, RECORDS, SPLITS

N_IMAGES, N_CAPTIONS, N_QUESTIONS = 82_783, 414_113, 443_757
N_TEXT_IMAGES, N_BOXES = 63_686, 200_000
N_OVERLAYS = 240
WIDTH, HEIGHT = 640, 480
SIZES = (7_000, 2_000, 3_000)
SENTENCE = (
    "a the man woman dog on in with red bus street sign holding two people sitting near white "
    "table food large small train parked next to building snow standing under umbrella clock"
)
WORDS = SENTENCE.split()
FILES = {
    "captions": "captions_train2014.json",
    "coco_text": "cocotext.v2.json",
    "vqa_questions": "v2_OpenEnded_mscoco_train2014_questions.json",
    "vqa_annotations": "v2_mscoco_train2014_annotations.json",
}


def paths(folder: Path) -> dict[str, Path]:
    """The generated files, as `build_records` takes them."""
    return {kind: folder / name for kind, name in FILES.items()}


def sentence(rng: np.random.Generator, length: int) -> str:
    return " ".join(WORDS[i] for i in rng.integers(len(WORDS), size=length))


def image(image_id: int) -> dict:
    name = f"COCO_train2014_{image_id:012d}.jpg"
    url = f"http://images.example.org/train2014/{name}"
    return {
        "license": 5,
        "file_name": name,
        "coco_url": url,
        "height": HEIGHT,
        "width": WIDTH,
        "date_captured": "2013-11-14 16:28:13",
        "flickr_url": f"http://farm4.example.org/3153/{image_id}_5b6ddd77a4_z.jpg",
        "id": image_id,
    }


def caption(number: int, image_id: int, rng: np.random.Generator) -> dict:
    return {"image_id": image_id, "id": number, "caption": f"{sentence(rng, 10)} {number}."}


def text_box(box_id: int, image_id: int, rng: np.random.Generator) -> dict:
    x, y, w, h = (float(v) for v in np.round(rng.uniform((0, 0, 5, 5), (560, 440, 90, 50)), 1))
    return {
        "mask": [x, y, x + w, y, x + w, y + h, x, y + h],
        "class": "machine printed",
        "bbox": [x, y, w, h],
        "image_id": image_id,
        "id": box_id,
        "language": "english",
        "area": w * h,
        "utf8_string": f"text{box_id % 997}",
        "legibility": "legible" if rng.random() < 0.7 else "illegible",
    }


def answers(question_id: int, image_id: int, rng: np.random.Generator) -> dict:
    common = WORDS[question_id % len(WORDS)]
    given = [common if rng.random() < 0.7 else sentence(rng, 1) for _ in range(10)]
    return {
        "question_type": "what is the",
        "multiple_choice_answer": common,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": place + 1}
            for place, answer in enumerate(given)
        ],
        "image_id": image_id,
        "answer_type": "other",
        "question_id": question_id,
    }


def write_list(path: Path, head: dict, sections: dict[str, Iterator[dict]]) -> None:
    """A file of lists, written record by record."""
    with path.open("w") as file:
        file.write(json.dumps(head)[:-1])
        for section, entries in sections.items():
            file.write(f', "{section}": [')
            for number, entry in enumerate(entries):
                file.write((", " if number else "") + json.dumps(entry))
            file.write("]")
        file.write("}")


def write_files(folder: Path) -> None:
    """The four files; ids are spread as COCO's are."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids = [int(i) for i in np.sort(rng.choice(581_921, N_IMAGES, replace=False))]
    asked = sorted(
        chain(ids, (ids[i] for i in rng.integers(N_IMAGES, size=N_QUESTIONS - N_IMAGES)))
    )
    questions, previous, number = [], -1, 0
    for image_id in asked:
        number = number + 1 if image_id == previous else 0
        previous = image_id
        questions.append((1000 * image_id + number, image_id))
    target = paths(folder)
    captioned = chain((i for i in ids for _ in range(5)), ids)
    write_list(
        target["captions"],
        {"info": {"year": 2014}, "licenses": []},
        {
            "images": (image(i) for i in ids),
            "annotations": (caption(n, next(captioned), rng) for n in range(N_CAPTIONS)),
        },
    )
    write_list(
        target["vqa_questions"],
        {"info": {}, "data_subtype": "train2014"},
        {
            "questions": (
                {"image_id": i, "question": sentence(rng, 6) + "?", "question_id": q}
                for q, i in questions
            )
        },
    )
    write_list(
        target["vqa_annotations"],
        {"info": {}, "data_subtype": "train2014"},
        {"annotations": (answers(q, i, rng) for q, i in questions)},
    )
    with_text = [int(i) for i in np.sort(rng.choice(ids, N_TEXT_IMAGES, replace=False))]
    boxed = rng.choice(with_text, N_BOXES)
    boxes = {n + 1: text_box(n + 1, int(i), rng) for n, i in enumerate(boxed)}
    index: dict[int, list[int]] = {i: [] for i in with_text}
    for box_id, box in boxes.items():
        index[box["image_id"]].append(box_id)
    content = {
        "cats": {},
        "anns": boxes,
        "imgs": {i: {**image(i), "set": "train"} for i in with_text},
        "imgToAnns": index,
        "info": {},
    }
    target["coco_text"].write_text(json.dumps(content))


def measure_records(folder: Path) -> str:
    """The four files to records, excluded images and splits, written as artifacts."""
    records, excluded = build_records(**paths(folder))
    splits = build_splits(records["image_id"], *SIZES)
    artifacts.write(folder / "records.parquet", records, RECORDS)
    artifacts.write(folder / "splits.parquet", splits, SPLITS)
    return f"{len(records):,} usable images, {len(excluded):,} excluded"


def selected(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    return (
        artifacts.read(folder / "records.parquet", RECORDS),
        artifacts.read(folder / "splits.parquet", SPLITS),
    )


def measure_embeddings(folder: Path) -> str:
    """Sentence embeddings of all captions of the selected images by the real model, written."""
    from hones_core.benchmark.caption_embeddings import embed_captions

    embeddings = embed_captions(used_records(*selected(folder))["captions"].explode(), threads=2)
    artifacts.write(folder / "embeddings.parquet", embeddings, CAPTION_EMBEDDINGS)
    return f"{len(embeddings):,} captions"


def write_embeddings(folder: Path) -> None:
    """Random unit vectors in the place of the captions' embeddings."""
    captions = sorted(set(used_records(*selected(folder))["captions"].explode()))
    vectors = np.random.default_rng(0).normal(size=(len(captions), 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    frame = pd.DataFrame({"caption": captions, "embedding": list(vectors)})
    artifacts.write(folder / "embeddings.parquet", frame, CAPTION_EMBEDDINGS)


def measure_mining(folder: Path) -> str:
    """2,000 queries against the 25,000 captions of 5,000 images, from embeddings on disk."""
    records, splits = selected(folder)
    embeddings = artifacts.read(folder / "embeddings.parquet", CAPTION_EMBEDDINGS)
    pools = mine_retrieval_pools(records, splits, embeddings, {"discovery": 2_000}, Mining())
    return f"{len(pools):,} candidates"


def photographed(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    records, splits = selected(folder)
    return records, splits.sort_values("position")[:N_OVERLAYS]


def write_photographs(folder: Path) -> None:
    (folder / "photographs").mkdir()
    for row in used_records(*photographed(folder)).itertuples():
        path = folder / "photographs" / row.file_name
        like_a_photograph(row.image_id).save(path, quality=90)


def draw_shard(folder: Path, index: int, count: int) -> tuple[float, float]:
    """Wall and CPU seconds of drawing one shard, reading and writing the images included."""
    records, splits = photographed(folder)
    shard, target = (index, count), folder / "ocr_images" / str(index)
    wall, cpu = time.perf_counter(), time.process_time()
    draw_ocr_images(records, splits, folder / "photographs", target, (0, 0, 255), 3, shard)
    return time.perf_counter() - wall, time.process_time() - cpu


def measure_overlays(folder: Path) -> str:
    """Outlined copies of photographs of 640 x 480, by two processes."""
    with ProcessPoolExecutor(2) as pool:
        walls, cpus = zip(*pool.map(draw_shard, [folder] * 2, range(2), [2] * 2), strict=True)
    sizes = [path.stat().st_size for path in (folder / "ocr_images").rglob("*.png")]
    return (
        f"{N_OVERLAYS / max(walls):.0f} images per second by 2 processes, "
        f"{N_OVERLAYS / sum(cpus):.0f} per CPU-second; {np.mean(sizes) / 1e3:.0f} kB an image"
    )


def measure_check(folder: Path) -> str:
    """The data check, with an empty file for each image of the captions file."""
    files = {kind: str(path) for kind, path in paths(folder).items()}
    rows = check_coco({**files, "image_folder": str(folder / "empty_images")})
    return f"{len(rows)} rows, {sum(row.status != 'ok' for row in rows)} not ok"


def write_empty_images(folder: Path) -> None:
    (folder / "empty_images").mkdir()
    for _, entry in json_records(paths(folder)["captions"], "images", list):
        (folder / "empty_images" / entry["file_name"]).touch()


def like_a_photograph(seed: int) -> Image.Image:
    """Smooth fields with grain: as hard to compress as a photograph."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    fine = Image.fromarray(rng.integers(0, 256, (HEIGHT // 2, WIDTH // 2, 3), dtype=np.uint8))
    size = (WIDTH, HEIGHT)
    return Image.blend(coarse.resize(size, Image.BICUBIC), fine.resize(size, Image.BICUBIC), 0.15)


# What a step needs: the file or folder whose presence says that it is there, and how it is made.
PREPARATIONS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "check": ("empty_images", write_empty_images),
    "mining": ("embeddings.parquet", write_embeddings),
    "overlays": ("photographs", write_photographs),
}
STEPS: dict[str, Callable[[Path], str]] = {
    "check": measure_check,
    "records": measure_records,
    "embeddings": measure_embeddings,
    "mining": measure_mining,
    "overlays": measure_overlays,
}


def run_step(folder: Path, name: str) -> None:
    """Run one step in this process and print its row."""
    start, cpu = time.perf_counter(), time.process_time()
    said = STEPS[name](folder)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"| {name} | {wall:.1f} s | {cpu:.1f} s | {peak:.2f} GB | {said} |", flush=True)


def main() -> None:
    folder, steps = Path(sys.argv[1]), sys.argv[2:]
    if steps[:1] == ["--one"]:
        run_step(folder, steps[1])
        return
    if not all(path.exists() for path in paths(folder).values()):
        write_files(folder)
    print("| step | wall time | CPU time | peak memory | |\n| --- | --- | --- | --- | --- |")
    for name in steps or STEPS:
        made, prepare = PREPARATIONS.get(name, ("", None))
        if prepare is not None and not (folder / made).exists():
            prepare(folder)
        subprocess.run([sys.executable, __file__, str(folder), "--one", name], check=True)


if __name__ == "__main__":
    main()
