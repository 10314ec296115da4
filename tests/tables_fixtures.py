"""Fixtures of the tables' tests: predictions of two models on four tasks, and their tables."""

import numpy as np
import pandas as pd
import pytest
from tables_support import (
    BOOTSTRAP,
    COMPARE,
    EMPTY,
    GROUPS,
    MODELS,
    SCORES,
    TASKS,
    N,
    paper,
    places,
    predictions,
)

from hones_core.tables.groups import group_drop
from hones_core.tables.masking import masking_drop
from hones_core.tables.steering import steering

QUALITIES = {  # of each steering method and seed
    ("hones", 0): 0.95,
    ("base", 0): 0.6,
    ("fixed_amp", 0): 0.6,
    ("random", 0): 0.55,
    ("random", 1): 0.7,
}


@pytest.fixture(scope="session")
def base():
    generator = np.random.default_rng(0)
    frames = {}
    for model, task in places():
        test = predictions(generator, task, 0.9, split="test")
        other = predictions(generator, task, 0.9, range(N, N + 7), split="discovery")
        frames[model, task] = pd.concat([other, test], ignore_index=True)
    return frames


@pytest.fixture(scope="session")
def masked():
    generator = np.random.default_rng(1)
    frames = {}
    for place in places():
        task = place[1]
        systems = [
            predictions(generator, task, 0.85, ranker="random", seed=seed, n_neurons=15)
            for seed in range(3)
        ]
        for ranker, quality in {"ap": 0.8, "ape": 0.9, "hones": 0.2}.items():
            systems.append(
                predictions(generator, task, quality, ranker=ranker, seed=0, n_neurons=15)
            )
        if task == "vqa":
            systems.append(predictions(generator, task, 0.5, ranker="dla", seed=0, n_neurons=15))
        rows = pd.concat(systems).sample(frac=1, random_state=0)
        frames[place] = rows.assign(n_nonzero=40 + rows["seed"])
    return frames


@pytest.fixture(scope="session")
def drops(base, masked):
    figures = [paper("masking_relative_drop_percent"), paper("masking_vqa_other_rankers")]
    return masking_drop(base, masked, SCORES, pd.concat(figures), COMPARE, BOOTSTRAP)


@pytest.fixture(scope="session")
def group_inputs(base):
    generator = np.random.default_rng(3)
    sizes = {group: place + 1 for place, group in enumerate(GROUPS) if group != EMPTY}
    overlap = pd.DataFrame(
        [
            {"layer": place, "neuron": neuron, "group": group, "n_tasks": group.count("+") + 1}
            for place, (group, size) in enumerate(sizes.items())
            for neuron in range(size)
        ]
    )
    dominant = pd.DataFrame({"task": TASKS, "group": ["vqa+ocr", "vqa+ocr", "", GROUPS[-1]]})
    frames = {}
    for place in places():
        task = place[1]
        systems = []
        for group, size in sizes.items():
            if group == "vqa+ocr" or task in group.split("+"):
                for trial in (-1, 0, 1, 2):
                    quality = 0.2 if (trial == -1 and group == "vqa+ocr") else 0.88
                    columns = {"group": group, "trial": trial, "n_neurons": size}
                    systems.append(predictions(generator, task, quality, split="test", **columns))
        columns = {"group": "vqa", "trial": -1, "n_neurons": 1, "split": "development"}
        systems.append(predictions(generator, task, 0.0, range(900, 905), **columns))
        frames[place] = pd.concat(systems, ignore_index=True)
    return {
        "base": base,
        "masked": frames,
        "overlap_groups": dict.fromkeys(MODELS, overlap),
        "dominant_groups": dict.fromkeys(MODELS, dominant),
        "scores": SCORES,
        "paper": paper("caption_text_erasure"),
        "compare_with": COMPARE,
        "bootstrap": BOOTSTRAP,
    }


@pytest.fixture(scope="session")
def groups(group_inputs):
    return group_drop(**group_inputs)


@pytest.fixture(scope="session")
def steered_frames():
    generator = np.random.default_rng(4)
    return {
        place: pd.concat(
            [
                predictions(generator, place[1], quality, method=method, seed=seed, kl=0.1 * seed)
                for (method, seed), quality in QUALITIES.items()
            ]
        )
        for place in places()
    }


@pytest.fixture(scope="session")
def searches():
    rows = [
        {"method": method, "seed": seed, "chosen": chosen, "development_score": score}
        for method, seed in QUALITIES
        for chosen, score in ((True, 0.5 + 0.1 * seed), (False, 0.9))
    ]
    return dict.fromkeys(places(), pd.DataFrame(rows))


@pytest.fixture(scope="session")
def gains(steered_frames, searches):
    return steering(steered_frames, searches, SCORES, paper("steering_score"), COMPARE, BOOTSTRAP)
