"""A run of the whole chain that is small enough for a test, and checks that hold for any run."""

from pathlib import Path

import pandas as pd
import yaml
from workflow_support import ROOT

from hones_core import artifacts
from hones_core.artifacts import Schema
from hones_core.schemas import benchmark, heads, masking, neurons, steering

TASKS = ("vqa", "ocr", "caption", "retrieval")


def small_run(name: str, model: str, **values) -> dict:
    """Configuration values of a small run called `name`, of one of the default run's models."""
    models = yaml.safe_load((ROOT / "config.yaml").read_text())["models"]
    return {
        "run_name": name,
        "models": [{**one, "rankers": None} for one in models if one["name"] == model],
        # With so few samples a discrete metric may not lose anything for any head.
        "heads": {
            "utility": "target_logprob",
            "samples": {"vqa": 12, "ocr": 12, "caption": 12, "retrieval": 4},
            "joint_tasks": ["vqa", "caption"],
            "budgets": [1, 4],
        },
        "neurons": {"random_seeds": 2, "random_head_seeds": 1, "token_level_samples": 8},
        "efficiency": {"trials": 2, "samples": 2},
        "stability": {"parts": 2, "draws": 2},
        "masking": {"bootstrap_resamples": 500, "ratios": [0.01, 0.05]},
        "groups": {"random_trials": 1, "ood_sets": []},
        "steering": {"epochs": 1, "quick": True},
        "report": {"card_samples": 8},
        "planted": {"n_images": 7, "head_samples": 7, "strengths": [1.0]},
        **values,
    }


# The whole chain on a few scenes.
SIZES = {"discovery": 42, "development": 28, "test": 35}
QUERIES = {"discovery": 12, "development": 8, "test": 10}
SCENES = "results/small/scenes"
QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
SMALL_TOY = small_run(
    "small",
    "llava",
    data={
        "image_folder": f"{SCENES}/train2014",
        "captions": f"{SCENES}/annotations/captions_train2014.json",
        "coco_text": f"{SCENES}/annotations/cocotext.v2.json",
        "vqa_questions": f"{SCENES}/annotations/{QUESTIONS}",
        "vqa_annotations": f"{SCENES}/annotations/v2_mscoco_train2014_annotations.json",
        "toy_scenes": {"n_images": 105, "seed": 0},
    },
    benchmark={"splits": SIZES, "retrieval": {"n_queries": QUERIES, "n_negatives": 15}},
    groups={"random_trials": 1},
    ood={
        "repeats": 2,
        "toy_scenes": {"n_images": 25, "seed": 0},
        "flickr30k": {"n_queries": 7, "n_negatives": 15},
    },
)


class Results:
    """The artifacts of one run."""

    def __init__(self, project: Path, run: str, model: str):
        self.folder = project / "results" / run
        self.model = model

    def read(self, path: str, schema: Schema) -> pd.DataFrame:
        return artifacts.read(self.folder / f"{path}.parquet", schema)

    def of_task(self, task: str, schema: Schema) -> pd.DataFrame:
        return self.read(f"{self.model}/{task}/{schema.name}", schema)


def check_base_counts(results: Results, sizes: dict[str, int], queries: dict[str, int]) -> None:
    """What goes into base predictions comes out of them."""
    splits = results.read("benchmark/splits", benchmark.SPLITS)
    counted = splits["split"].value_counts().to_dict()
    assert {split: counted[split] for split in sizes} == sizes
    for task in TASKS:
        expected = queries if task == "retrieval" else sizes
        instances = results.read(f"benchmark/instances/{task}", benchmark.INSTANCES)
        assert instances["split"].value_counts().to_dict() == expected
        base = results.of_task(task, heads.BASE_PREDICTIONS)
        assert base["instance_id"].tolist() == instances["instance_id"].tolist()


def check_counts(results: Results, sizes: dict[str, int], queries: dict[str, int]) -> None:
    """As `check_base_counts`, and every set was masked on all test instances."""
    check_base_counts(results, sizes, queries)
    for task in TASKS:
        instances = results.read(f"benchmark/instances/{task}", benchmark.INSTANCES)
        test = set(instances.loc[instances["split"] == "test", "instance_id"])
        masked = results.of_task(task, masking.MASKED_PREDICTIONS)
        for _, rows in masked.groupby(["ranker", "seed"]):
            assert set(rows["instance_id"]) == test and len(rows) == len(test)


def check_steered(results: Results) -> None:
    """Every method was tried on all test instances, and every task's scales on the other tasks."""
    for task in TASKS:
        instances = results.read(f"benchmark/instances/{task}", benchmark.INSTANCES)
        test = set(instances.loc[instances["split"] == "test", "instance_id"])
        steered = results.of_task(task, steering.STEERED_PREDICTIONS)
        methods = {"base", "fixed_amp", "grid_search", "random", "hones_nokl", "hones"}
        assert set(steered["method"]) == methods
        for _, rows in steered.groupby(["method", "seed"]):
            assert set(rows["instance_id"]) == test and len(rows) == len(test)
        side_effects = results.of_task(task, steering.SIDE_EFFECT_PREDICTIONS)
        assert set(side_effects["steered_task"]) == set(TASKS) - {task}
        for _, rows in side_effects.groupby("steered_task"):
            assert set(rows["instance_id"]) == test and len(rows) == len(test)


def check_masked_sets(results: Results, ratio: float) -> None:
    """Every ranker masks the same number of neurons: the share that was asked for."""
    for task in TASKS:
        ranking = results.of_task(task, neurons.NEURON_RANKING)
        n_neurons = ranking.groupby(["ranker", "seed"]).size().unique().item()
        masked = results.of_task(task, masking.MASKED_PREDICTIONS)
        assert set(masked["n_neurons"]) == {round(ratio * n_neurons)}


def check_head_effects(results: Results, samples: dict[str, int]) -> None:
    """Every head was measured on the same instances, and neurons before it do not change."""
    for task in TASKS:
        effects = results.of_task(task, heads.HEAD_EFFECTS)
        ranking = results.of_task(task, heads.HEAD_RANKING)
        assert effects.groupby(["layer", "head"]).size().unique().tolist() == [samples[task]]
        assert effects.groupby(["layer", "head"]).ngroups == len(ranking) + 1
        base = results.of_task(task, heads.BASE_PREDICTIONS).set_index("instance_id")
        unchanged = effects[effects["layer"] == heads.BASE].set_index("instance_id")
        assert (unchanged["utility"] == base.loc[unchanged.index, "utility"]).all()
        drops = results.of_task(task, neurons.NEURON_EFFECTS)
        assert (drops["layer"] >= drops["head_layer"]).all()
        assert (drops["drop"] >= 0).all() and drops["drop"].max() > 0


TABLES = ("masking_drop", "masking_score", "group_drop", "logit_lens", "steering")
TABLES += ("steering_bootstrap", "steering_side_effects")
FIGURES = ("head_scores", "layer_histogram", "group_drop", "group_sizes")
FIGURES += ("logit_lens", "logit_lens_samples")


def shown(model: str) -> list[str]:
    """The tables, in their three forms, and figures that `check_tables` looks at."""
    forms = ("parquet", "csv", "md")
    tables = [f"tables/{name}.{suffix}" for name in TABLES for suffix in forms]
    return tables + [f"figures/{model}/{name}.svg" for name in FIGURES]


def check_tables(results: Results) -> None:
    """Every table is there in its three forms, and every figure is whole."""
    for name in shown(results.model):
        assert (results.folder / name).stat().st_size > 0, name
        if name.endswith(".svg"):
            assert (results.folder / name).read_text().rstrip().endswith("</svg>"), name
