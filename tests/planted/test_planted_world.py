"""The planted world's images, questions and tokens, and what the vision tower makes of them."""

import numpy as np
import pytest
import torch
from PIL import Image
from planted_support import N_IMAGES, SEED, model

from hones_core.planted.layout import SPACES, WIDTH, dimension, space
from hones_core.planted.world import (
    CONTENTS,
    PAINTS,
    PATCH,
    PLACES,
    ROW_LENGTH,
    SLOTS,
    TASKS,
    WORDS,
    draw_scenes,
    row_slots,
)


def contents(folder, name) -> list[int]:
    """What each patch of an image shows, read from its middle pixel; -1 for nothing."""
    pixels = np.asarray(Image.open(folder / name)).astype(int)
    centres = pixels[PATCH // 2 :: PATCH, PATCH // 2 :: PATCH].reshape(SLOTS, 3)
    signs = [tuple(np.where(pixel > 127, 1, -1)) for pixel in centres]
    return [PAINTS.index(sign) if sign in PAINTS else -1 for sign in signs]


def row(folder, item) -> list[int]:
    slots = row_slots(item.task)
    return contents(folder, item.image)[slots.start : slots.stop]


def test_every_answer_is_what_the_image_shows(world):
    for task, items in world.instances.items():
        assert len(items) == N_IMAGES
        for item in items:
            shown = row(world.folder, item)
            if task in ("ocr", "caption"):
                said = [WORDS[task].index(word) for word in item.references[0].split()]
                assert shown == said + [-1] * (ROW_LENGTH - len(said))
                assert len(set(said)) == len(said)  # each word has one successor
            elif task == "vqa":
                place = PLACES.index(item.question.split()[-1].rstrip("?"))
                assert WORDS["vqa"][shown[place]] == item.references[0]
            else:
                fits = [WORDS["retrieval"].index(text) in shown for text in item.candidates]
                assert [place for place, fit in enumerate(fits) if fit] == [item.positive_index]


def test_every_word_is_asked_for_first_equally_often(world):
    for task in ("vqa", "ocr", "caption"):
        first = [item.references[0].split()[0] for item in world.instances[task]]
        assert {word: first.count(word) for word in WORDS[task]} == dict.fromkeys(
            WORDS[task], N_IMAGES // CONTENTS
        )


def test_scenes_depend_on_the_seed_alone(world, tmp_path):
    for name, seed in (("same", SEED), ("other", SEED + 1)):
        (tmp_path / name).mkdir()
        again = draw_scenes(tmp_path / name, N_IMAGES, seed)
        assert (again == world.instances) == (name == "same")
    one, two = ((folder / "0000.png").read_bytes() for folder in (world.folder, tmp_path / "same"))
    assert one == two


@pytest.mark.parametrize("task", TASKS)
def test_the_last_prompt_token_says_which_task_is_asked(world, family, task):
    adapter, _ = model(family)
    batch = world.evaluator(adapter, task).encode(world.instances[task][:3])
    assert not (batch.input_ids == adapter.tokenizer.unk_token_id).any()
    last = batch.embeddings[:, -1, space("task")]
    assert torch.equal(last, torch.eye(len(TASKS))[TASKS.index(task)].expand(3, -1))
    assert not batch.embeddings[:, :-1, space("task")].any()


def test_the_tower_passes_on_what_and_where(world, family):
    adapter, _ = model(family)
    item = world.instances["caption"][0]
    batch = world.evaluator(adapter, "caption").encode([item])
    patches = batch.embeddings[0][batch.input_ids[0] == adapter.image_token]
    assert torch.allclose(patches[:, space("slot")], torch.eye(SLOTS), atol=0.02)
    found = torch.zeros(SLOTS, CONTENTS)
    for slot, content in enumerate(contents(world.folder, item.image)):
        if content >= 0:
            found[slot, content] = 1
    assert torch.allclose(patches[:, space("content")], found, atol=0.2)  # paints vary


def test_subspaces_do_not_overlap():
    dimensions = [dimension((name, k)) for name, width in SPACES.items() for k in range(width)]
    assert sorted(dimensions) == list(range(WIDTH))
    with pytest.raises(ValueError, match="content has 7 features"):
        dimension(("content", CONTENTS))
