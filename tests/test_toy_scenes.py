"""The toy scenes: official layout, same seed same bytes, no caption true of two images."""

import hashlib
import json
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hones_core.benchmark.overlays import draw_outline
from hones_core.toy import language, official, scenes, vocabulary

N_IMAGES = 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("official")
    official.write_official(path, N_IMAGES, seed=5)
    return path


def _load(folder: Path, name: str) -> dict:
    return json.loads((folder / "annotations" / name).read_text(encoding="utf-8"))


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_seed_same_bytes_other_seed_other_scenes(folder, tmp_path):
    official.write_official(tmp_path / "again", N_IMAGES, seed=5)
    official.write_official(tmp_path / "other", N_IMAGES, seed=6)
    assert _digests(folder) == _digests(tmp_path / "again")
    other = _digests(tmp_path / "other")
    assert set(other) == set(_digests(folder))
    assert not set(other.values()) & set(_digests(folder).values())


def test_captions_and_images(folder):
    captions = _load(folder, "captions_train2014.json")
    ids = [image["id"] for image in captions["images"]]
    assert len(set(ids)) == N_IMAGES
    per_image = Counter(annotation["image_id"] for annotation in captions["annotations"])
    assert per_image == dict.fromkeys(ids, official.CAPTIONS_PER_IMAGE)
    assert len({annotation["id"] for annotation in captions["annotations"]}) == 5 * N_IMAGES
    for image in captions["images"]:
        assert image["file_name"] == f"COCO_train2014_{image['id']:012d}.png"
        with Image.open(folder / "train2014" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
            assert picture.mode == "RGB"
    assert max(len(a["caption"].split()) for a in captions["annotations"]) <= 20


def test_coco_text_layout_and_boxes_inside_their_images(folder):
    content = _load(folder, "cocotext.v2.json")
    assert set(content) == {"cats", "anns", "imgs", "imgToAnns", "info"}
    fields = {"mask", "class", "bbox", "image_id", "id", "language", "area", "utf8_string"}
    for key, annotation in content["anns"].items():
        assert set(annotation) == fields | {"legibility"}
        assert key == str(annotation["id"])
        image = content["imgs"][str(annotation["image_id"])]
        x, y, w, h = annotation["bbox"]
        assert x >= 0 and y >= 0 and w > 0 and h > 0
        assert x + w <= image["width"] and y + h <= image["height"]
        assert len(annotation["mask"]) == 8
        assert set(annotation["utf8_string"]) <= set(vocabulary.CHARACTERS)
    for key, annotation_ids in content["imgToAnns"].items():
        assert annotation_ids, "every image has a legible plate"
        assert all(content["anns"][str(i)]["image_id"] == int(key) for i in annotation_ids)
    assert {image["set"] for image in content["imgs"].values()} == {"train"}


def test_questions_have_ten_answers_and_a_clear_majority(folder):
    questions = _load(folder, "v2_OpenEnded_mscoco_train2014_questions.json")["questions"]
    annotations = _load(folder, "v2_mscoco_train2014_annotations.json")["annotations"]
    assert [q["question_id"] for q in questions] == [a["question_id"] for a in annotations]
    dissenting = 0
    for question, annotation in zip(questions, annotations, strict=True):
        assert question["question_id"] // 1000 == question["image_id"] == annotation["image_id"]
        answers = [answer["answer"] for answer in annotation["answers"]]
        assert [answer["answer_id"] for answer in annotation["answers"]] == list(range(1, 11))
        assert {a["answer_confidence"] for a in annotation["answers"]} <= {"yes", "maybe", "no"}
        common, count = Counter(answers).most_common(1)[0]
        assert common == annotation["multiple_choice_answer"]
        assert count >= 10 - official.MAX_DISSENT
        dissenting += count < 10
        assert annotation["answer_type"] in {"yes/no", "number", "other"}
    assert 0.3 < dissenting / len(annotations) < 0.95


def test_no_scene_contains_another_one():
    found = official.unique_scenes(300, scenes.scene_rng("evaluation", 1, 0))
    contents = [frozenset(thing.kind for thing in scene.things) for scene in found]
    assert not any(a <= b or b <= a for a, b in combinations(contents, 2))


def test_an_exhausted_world_is_an_error(monkeypatch):
    only = scenes.sample_scene(scenes.scene_rng("evaluation", 1, 0))
    monkeypatch.setattr(official, "sample_scene", lambda rng, kinds: only)
    with pytest.raises(ValueError, match="ask for fewer images"):
        official.unique_scenes(2, scenes.scene_rng("evaluation", 1, 0))


def test_every_caption_tells_every_thing_and_the_plates():
    rng = scenes.scene_rng("evaluation", 2, 0)
    for _ in range(100):
        facts = language.facts_of(scenes.sample_scene(rng))
        sentence = language.write_caption(rng, facts)
        claimed = [kind for _, kind in sentence.claims]
        assert sorted(kind for kind in claimed if kind) == sorted(facts.kinds)
        assert claimed.count(None) == 1
        for index, kind in sentence.claims:
            if kind:
                shape = vocabulary.SHAPES[kind[1]]
                colour = vocabulary.COLOURS[kind[0]]
                assert sentence.words[index] in {kind[1], shape.synonym}
                assert sentence.words[index - 1] in {kind[0], colour.synonym}


def test_false_candidates_are_false():
    rng = scenes.scene_rng("evaluation", 3, 0)
    for _ in range(300):
        facts = language.facts_of(scenes.sample_scene(rng))
        false = language.falsify(rng, facts)
        assert not set(false.kinds) <= set(facts.kinds) or false.n_plates != facts.n_plates


def test_seed_spaces_are_apart():
    assert len(set(scenes.SEED_SPACES.values())) == len(scenes.SEED_SPACES)
    draws = [
        scenes.scene_rng(space, seed, index).integers(2**63)
        for space in scenes.SEED_SPACES
        for seed in range(5)
        for index in range(5)
    ]
    assert len(set(draws)) == len(draws)
    with pytest.raises(KeyError):
        scenes.scene_rng("test", 0)


def test_drawing_is_a_pure_function_and_the_box_covers_no_text():
    rng = scenes.scene_rng("evaluation", 4, 0)
    for _ in range(50):
        scene = scenes.sample_scene(rng)
        image = scenes.draw_scene(scene)
        assert np.array_equal(image, scenes.draw_scene(scene))
        for plate in scene.plates:
            x, y, w, h = plate.box
            boxed = draw_outline(image, plate.box, (0, 0, 255), 2)
            window = (slice(y, y + h), slice(x, x + w))
            assert np.array_equal(np.asarray(boxed)[window], np.asarray(image)[window])


def test_patch_labels_point_at_what_is_drawn():
    scene = scenes.sample_scene(scenes.scene_rng("evaluation", 6, 0))
    labels = scenes.patch_labels(scene, boxed=0)
    assert {label.shape for label in labels.values()} == {(scenes.GRID**2,)}
    n_characters = sum(len(plate.text) for plate in scene.plates)
    assert (labels["character"] > 0).sum() == 2 * n_characters
    assert (labels["boxed"] > 0).sum() == 2 * len(scene.plates[0].text)
    assert (labels["shape"] > 0).sum() == 4 * len(scene.things)
