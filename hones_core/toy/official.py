"""Writes toy scenes as the official files: COCO captions, COCO-Text v2, VQAv2, images.

The same readers that take the real annotations take these.
"""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from hones_core.atomic import write_text
from hones_core.toy.language import (
    Question,
    ask_question,
    facts_of,
    new_kind,
    write_caption,
)
from hones_core.toy.scenes import (
    SEED_SPACES,
    SIDE,
    Kind,
    Scene,
    draw_scene,
    sample_scene,
    scene_rng,
)

CAPTIONS_PER_IMAGE = 5
ANNOTATORS = 10
FAMILY_SIZE = 8  # relatives of a scene, on average
MAX_DISSENT = 3  # annotators of ten: the common answer keeps full accuracy


def _relative(rng: np.random.Generator, kinds: Sequence[Kind]) -> list[Kind]:
    """Change one thing's colour or shape."""
    changed = list(kinds)
    index = int(rng.integers(len(changed)))
    colour, shape = changed[index]
    keep = {"shape": shape} if rng.random() < 0.5 else {"colour": colour}
    changed[index] = new_kind(rng, tuple(kinds), **keep)
    return changed


def unique_scenes(n_images: int, rng: np.random.Generator) -> list[Scene]:
    """Draw scenes of which none's things are all present in another one, in families.

    A caption names every thing of its scene, so it is false of every other scene of the call: a
    retrieval negative can't be secretly true. But most scenes have relatives that differ from the
    head of the family in one colour or shape, as photographs of one kind of event do, and the
    captions of relatives are hard negatives.
    """
    scenes: list[Scene] = []
    whole: set[frozenset[Kind]] = set()  # the things of each scene
    parts: set[frozenset[Kind]] = set()  # all pairs and triples found inside a scene
    failures, wanted = 0, 0
    head: list[Kind] | None = None
    while len(scenes) < n_images:
        scene = sample_scene(rng, None if wanted == 0 or head is None else _relative(rng, head))
        kinds = [thing.kind for thing in scene.things]
        subsets = {frozenset(c) for size in (2, 3) for c in combinations(kinds, size)}
        if frozenset(kinds) in parts or subsets & whole:
            failures += 1
            if failures > 2000:
                raise ValueError(
                    f"found only {len(scenes)} scenes that exclude each other, {n_images} were "
                    "asked for; ask for fewer images"
                )
            wanted = wanted if failures % 20 else 0  # a family may have no room left
            continue
        failures = 0
        if wanted == 0:
            head, wanted = kinds, int(rng.integers(0, 2 * FAMILY_SIZE + 1))
        else:
            wanted -= 1
        scenes.append(scene)
        whole.add(frozenset(kinds))
        parts |= subsets
    return [scenes[i] for i in rng.permutation(n_images)]


def _captions(rng: np.random.Generator, scene: Scene) -> list[str]:
    """Write five different captions of one scene."""
    texts: dict[str, None] = {}
    while len(texts) < CAPTIONS_PER_IMAGE:
        texts[write_caption(rng, facts_of(scene)).text] = None
    return list(texts)


def _questions(rng: np.random.Generator, scene: Scene, count: int) -> list[Question]:
    """Ask `count` differently worded questions."""
    found: dict[str, Question] = {}
    while len(found) < count:
        question = ask_question(rng, scene)
        found.setdefault(question.text, question)
    return list(found.values())


def _ten_answers(rng: np.random.Generator, question: Question) -> list[dict]:
    n_dissent = int(rng.choice(MAX_DISSENT + 1, p=[0.35, 0.35, 0.2, 0.1]))
    answers = [question.answer] * (ANNOTATORS - n_dissent)
    answers += [str(rng.choice(question.dissent)) for _ in range(n_dissent)]
    order = rng.permutation(ANNOTATORS)
    sure = rng.choice(["yes", "maybe", "no"], ANNOTATORS, p=[0.8, 0.15, 0.05])
    return [
        {"answer": answers[i], "answer_confidence": str(sure[i]), "answer_id": rank + 1}
        for rank, i in enumerate(order)
    ]


def _text_annotation(annotation_id: int, image_id: int, scene: Scene, index: int) -> dict:
    x, y, w, h = (float(value) for value in scene.plates[index].box)
    return {
        "mask": [x, y, x + w, y, x + w, y + h, x, y + h],
        "class": "machine printed",
        "bbox": [x, y, w, h],
        "image_id": image_id,
        "id": annotation_id,
        "language": "english",
        "area": w * h,
        "utf8_string": scene.plates[index].text,
        "legibility": "legible",
    }


def _write_json(path: Path, content: dict) -> None:
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")


def write_official(
    folder: str | Path,
    n_images: int,
    seed: int,
    *,
    questions_per_image: int = 3,
    first_image_id: int = 1,
) -> None:
    """Write scenes and all that is said about them under `folder`; same seed, same bytes.

    Files: `annotations/captions_train2014.json`, `annotations/cocotext.v2.json`,
    `annotations/v2_OpenEnded_mscoco_train2014_questions.json`,
    `annotations/v2_mscoco_train2014_annotations.json`, `train2014/COCO_train2014_{id:012d}.png`.
    """
    assert SEED_SPACES["evaluation"] != SEED_SPACES["training"], "evaluation must stay unseen"
    folder = Path(folder)
    scenes = unique_scenes(n_images, scene_rng("evaluation", seed, 0))
    words = scene_rng("evaluation", seed, 1)
    images_folder = folder / "train2014"
    images_folder.mkdir(parents=True, exist_ok=True)
    info = {"description": "toy scenes", "version": "1", "year": 2014, "url": ""}
    images: list[dict] = []
    captions: list[dict] = []
    questions: list[dict] = []
    annotations: list[dict] = []
    text_images: dict[str, dict] = {}
    texts: dict[str, dict] = {}
    text_ids: dict[str, list[int]] = {}
    for number, scene in enumerate(scenes):
        image_id = first_image_id + number
        name = f"COCO_train2014_{image_id:012d}.png"
        draw_scene(scene).save(images_folder / name, optimize=False)
        size = {"height": SIDE, "width": SIDE}
        images.append({"file_name": name, **size, "id": image_id})
        text_images[str(image_id)] = {"id": image_id, "set": "train", **size, "file_name": name}
        for text in _captions(words, scene):
            captions.append({"image_id": image_id, "id": len(captions) + 1, "caption": text})
        text_ids[str(image_id)] = []
        for index in range(len(scene.plates)):
            annotation_id = len(texts) + 1
            texts[str(annotation_id)] = _text_annotation(annotation_id, image_id, scene, index)
            text_ids[str(image_id)].append(annotation_id)
        for k, question in enumerate(_questions(words, scene, questions_per_image)):
            ids = {"image_id": image_id, "question_id": 1000 * image_id + k}
            questions.append({**ids, "question": question.text})
            annotations.append(
                {
                    "question_type": question.question_type,
                    "multiple_choice_answer": question.answer,
                    "answers": _ten_answers(words, question),
                    "answer_type": question.answer_type,
                    **ids,
                }
            )
    common = {"info": info, "license": {"name": "", "url": ""}, "data_subtype": "train2014"}
    target = folder / "annotations"
    _write_json(
        target / "captions_train2014.json",
        {"info": info, "images": images, "licenses": [], "annotations": captions},
    )
    _write_json(
        target / "cocotext.v2.json",
        {"cats": {}, "anns": texts, "imgs": text_images, "imgToAnns": text_ids, "info": info},
    )
    _write_json(
        target / "v2_OpenEnded_mscoco_train2014_questions.json",
        {**common, "task_type": "Open-Ended", "data_type": "mscoco", "questions": questions},
    )
    _write_json(
        target / "v2_mscoco_train2014_annotations.json",
        {**common, "data_type": "mscoco", "annotations": annotations},
    )
